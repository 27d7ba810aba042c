"""Rows and files of training data for language models. A user's training rows do not have the user's last two items."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.llm.tasks import TASKS, prompt
from sid_jax.llm.training_data import write_training_data

SIZES, NUM_ITEMS, NUM_USERS = (6, 6, 6), 60, 40
UNTITLED = 7


def catalog() -> IdTable:
    places = np.random.default_rng(0).choice(np.prod(SIZES), NUM_ITEMS, replace=False)
    codes = np.stack(np.unravel_index(places, SIZES), axis=1).astype(np.int32)
    titles = [None if item == UNTITLED else f"title\n{item} {{id}}." for item in range(NUM_ITEMS)]
    columns = {"title": titles, "description": [f"It is number {item}." for item in range(NUM_ITEMS)]}
    return IdTable([f"i{item}" for item in range(NUM_ITEMS)], codes, sizes=SIZES, columns=columns)


def histories() -> dict[str, list[str]]:
    """Returns the items of each user: 1 to 12 distinct items."""
    random = np.random.default_rng(1)
    lengths = random.integers(1, 13, NUM_USERS)
    return {
        f"u{user}": [f"i{item}" for item in random.permutation(NUM_ITEMS)[:length]]
        for user, length in enumerate(lengths)
    }


def rows_of(folder, split, form="text"):
    return pq.read_table(folder / form / f"{split}.parquet").to_pylist()


def written_ids(row) -> list[str]:
    return re.findall(r"<a_\d+><b_\d+><c_\d+>", row["prompt"] + row["completion"])


@pytest.fixture(scope="module")
def ids() -> dict[str, str]:
    """The text of each item's ID."""
    table = catalog()
    rows = table.semantic_ids.tolist()
    texts = ["".join(f"<{letter}_{code}>" for letter, code in zip("abc", row, strict=True)) for row in rows]
    return dict(zip(table.item_ids.tolist(), texts, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "shop"
    files = ("parquet", "jsonl")
    write_training_data(catalog(), out, histories=histories(), tasks=list(TASKS), max_history=4, files=files)
    return out


def test_two_users_by_hand(tmp_path):
    table = IdTable([10, 20, 30], np.array([[0, 1], [1, 0], [1, 1]]), columns={"title": ["One", " ", "Three"]})
    taken = {1: [10, 20, 30, 10, 20], 2: [30, 10, 30], 3: [10, 20]}
    summary = write_training_data(table, tmp_path / "d", histories=taken, markers=("[", "]"), max_history=2)
    one, two, three = "[<a_0><b_1>]", "[<a_1><b_0>]", "[<a_1><b_1>]"
    question = "A user chose these items, from the first to the last: {}\nWhich item comes next?\n"
    tests = {(row["task"], row["user_id"]): row for row in rows_of(tmp_path / "d", "test")}
    assert tests[("next_id", 1)]["prompt"] == question.format(three + one)
    assert (tests[("next_id", 1)]["completion"], tests[("next_id", 1)]["item_id"]) == (two, 20)
    # Item 20 has no title, and is the test target of user 1. So user 1 has no test row whose answer is a title. Prompts
    # with titles omit item 20.
    assert set(tests) == {("next_id", 1), ("next_id", 2), ("next_title", 2)} | {
        ("next_id_by_titles", user) for user in (1, 2)
    }
    assert tests[("next_id_by_titles", 1)]["prompt"].splitlines()[1:-1] == ["Three", "One"]
    assert tests[("next_title", 2)]["completion"] == "Three"
    valid = {(row["task"], row["user_id"]): row for row in rows_of(tmp_path / "d", "valid")}
    assert valid[("next_id", 1)]["prompt"] == question.format(two + three)
    assert [(row["user_id"], row["completion"]) for row in valid.values() if row["task"] == "next_id"] == [
        (1, one),
        (2, one),
    ]
    train = rows_of(tmp_path / "d", "train")
    assert sorted((row["user_id"], row["completion"]) for row in train if row["task"] == "next_id") == [
        (1, two),
        (1, three),
    ]
    assert sorted((row["item_id"], row["completion"]) for row in train if row["task"] == "title_to_id") == [
        (10, one),
        (30, three),
    ]
    assert summary["rows"]["next_id"] == {"train": 2, "valid": 2, "test": 2}
    assert summary["rows"]["id_to_title"] == {"train": 2, "valid": 0, "test": 0}
    assert (summary["users"], summary["users_left_out"]) == (2, 1)
    assert "description_to_id" not in summary["rows"]


def test_no_target_is_in_a_training_row_of_its_user(folder, ids):
    taken, leaks, seen = histories(), 0, 0
    for row in rows_of(folder, "train"):
        if row["user_id"] is None:
            continue
        text = row["prompt"] + row["completion"]
        for target in taken[row["user_id"]][-2:]:
            seen += 1
            leaks += ids[target] in text or f"title {target[1:]} " in text
    assert (leaks, seen > 500) == (0, True)


def test_each_training_item_but_a_users_first_is_an_answer_once(folder, ids):
    answers = defaultdict(list)
    for row in rows_of(folder, "train"):
        answers[row["task"]].append((row["user_id"], row["item_id"]))
        if row["task"] in ("next_id", "sequence"):
            # A row has at most four items before the answer, in the order of the history.
            items = histories()[row["user_id"]]
            place = items.index(row["item_id"])
            assert written_ids(row) == [ids[item] for item in items[max(0, place - 4) : place + 1]]
    expected = Counter((user, item) for user, items in histories().items() for item in items[1:-2])
    untitled = f"i{UNTITLED}"
    assert Counter(answers["next_id"]) == expected
    assert set(answers["next_title"]) == {pair for pair in expected if pair[1] != untitled}
    assert set(answers["sequence"]) == {(user, items[-3]) for user, items in histories().items() if len(items) > 3}
    assert Counter(item for _, item in answers["id_to_title"]) == Counter(set(ids) - {untitled})
    assert Counter(item for _, item in answers["description_to_id"]) == Counter(set(ids))


def test_validation_and_test_ask_for_the_last_two_items_with_the_first_wording(folder, ids):
    for split, place in (("valid", -2), ("test", -1)):
        rows = {row["user_id"]: row for row in rows_of(folder, split) if row["task"] == "next_id"}
        assert set(rows) == {user for user, items in histories().items() if len(items) > 2}
        for user, row in rows.items():
            items = histories()[user]
            history = "".join(ids[item] for item in items[:place][-4:])
            assert row["prompt"] == prompt("next_id", history=history) + "\n"
            assert (row["item_id"], row["completion"]) == (items[place], ids[items[place]])


def test_every_wording_is_used_and_order_and_wording_follow_from_the_seed(folder, tmp_path):
    options = {"histories": histories(), "tasks": list(TASKS), "max_history": 4}
    for name, seed in (("same", 0), ("other", 1)):
        write_training_data(catalog(), tmp_path / name, seed=seed, **options)
    rows = [rows_of(each, "train") for each in (folder, tmp_path / "same", tmp_path / "other")]
    assert rows[0] == rows[1] != rows[2]
    assert len({row["task"] for row in rows[0][:40]}) > 3
    about = [Counter((row["task"], row["user_id"], row["item_id"]) for row in each) for each in rows]
    assert about[0] == about[2]
    for name, task in TASKS.items():
        told = "\n".join(row["prompt"] for row in rows[0] if row["task"] == name)
        for wording in task.prompts:
            longest = max(re.split(r"\{\w+\}|\n", wording), key=len)
            assert longest in told, wording
            assert set(re.findall(r"\{(\w+)\}", wording)) == task.fields


def test_copies_leave_out_items_of_histories_but_no_answers(folder, tmp_path, ids):
    options = {"histories": histories(), "tasks": list(TASKS), "max_history": 4, "copies": 20, "item_dropout": 0.4}
    for name in ("d", "same"):
        summary = write_training_data(catalog(), tmp_path / name, **options)
    assert (summary["copies"], summary["item_dropout"]) == (20, 0.4)
    rows, full = rows_of(tmp_path / "d", "train"), rows_of(folder, "train")
    assert rows == rows_of(tmp_path / "same", "train")
    for split in ("valid", "test"):
        assert rows_of(tmp_path / "d", split) == rows_of(folder, split)
    answers = [Counter((row["task"], row["user_id"], row["item_id"]) for row in each) for each in (full, rows)]
    assert answers[1] == {key: count * (1 if key[1] is None else 20) for key, count in answers[0].items()}
    whole = {
        (row["task"], row["user_id"], row["item_id"]): written_ids(row)
        for row in full
        if row["task"] in ("next_id", "sequence")
    }
    kept, possible, texts = 0, 0, defaultdict(set)
    for row in rows:
        if row["task"] == "next_id_by_titles":
            assert "title" in row["prompt"].replace("with these titles", "").replace("the titles of", "")
        if row["task"] not in ("next_id", "sequence"):
            continue
        items, all_items = written_ids(row), whole[key := (row["task"], row["user_id"], row["item_id"])]
        left = iter(all_items)
        assert all(item in left for item in items), "the order of the history is kept"
        assert items[-1] == all_items[-1] == ids[row["item_id"]] and len(items) >= 2
        texts[key].add(tuple(items))
        if len(all_items) == 5:
            kept, possible = kept + len(items) - 1, possible + 4
    # Half of the rows are complete. In the other rows, if the draw leaves out all 4 items of a history, all are kept.
    assert kept / possible == pytest.approx(0.5 + 0.5 * (0.6 + 0.4**4), abs=0.03) and possible > 2000
    assert all(len(texts[key]) > 1 for key, items in whole.items() if len(items) == 5)


def test_chats_and_json_lines_say_the_same(folder):
    for split in ("train", "test"):
        plain, chats = rows_of(folder, split), rows_of(folder, split, "chat")
        for row, chat in zip(plain, chats, strict=True):
            user, assistant = chat["messages"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            assert row["prompt"].removesuffix("\n") == user["content"] and row["completion"] == assistant["content"]
        for form, rows in (("text", plain), ("chat", chats)):
            lines = (folder / form / f"{split}.jsonl").read_text().split("\n")
            assert [json.loads(line) for line in lines[:-1]] == rows
    card, summary = (folder / "README.md").read_text(), json.loads((folder / "summary.json").read_text())
    assert len(re.findall(r"path: (.*)", card)) == 6
    assert all((folder / path).is_file() for path in re.findall(r"path: (.*)", card))
    assert sum(counts["train"] for counts in summary["rows"].values()) == len(rows_of(folder, "train"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tasks": ["next"]}, "there is no task 'next'; the tasks are next_id"),
        ({"tasks": ["next_id"]}, "the task next_id needs histories"),
        ({"tasks": ["id_to_title", "id_to_title"]}, "list each task once"),
        ({"tasks": []}, "no task is given; choose from next_id"),
        ({"forms": ["xml"]}, "forms are xml; choose from chat, text"),
        ({"forms": "xml"}, "forms are xml; choose from chat, text"),
        ({"forms": ["chat", "chat"]}, "forms are chat, chat; list each of them once"),
        ({"files": ["jsonl", "jsonl"]}, "files are jsonl, jsonl; list each of them once"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"markers": ("<a_0>", "")}, "the marker '<a_0>' is the token of a code; choose another marker"),
        ({"markers": ("<b>",)}, "give two texts"),
        ({"markers": "ab"}, "give two texts"),
        ({"max_history": 0}, "max_history is 0"),
        ({"copies": 0}, "copies is 0; it must be 1 or more"),
        ({"item_dropout": 1.0}, "item_dropout is 1.0; it must be at least 0 and below 1"),
        ({"source": IdTable([1], np.array([[0, 0]]))}, "there is no training data"),
        ({"source": IdTable([1], np.array([[0, 0]])), "tasks": ["title_to_id"]}, "items with a column title"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, options, complaint):
    with pytest.raises(UserError, match=complaint):
        write_training_data(**{"source": catalog(), "out": tmp_path / "d", **options})
    assert not any(tmp_path.iterdir())
