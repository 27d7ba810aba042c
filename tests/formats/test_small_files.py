"""For two items and two users, the files for each tool follow the tool's documentation. Invalid input is rejected."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sid_jax.data.history_files import read_histories
from sid_jax.data.tables import column_names, read_own_tables
from sid_jax.data.tfrecord import crc32c, read_tfrecords, write_tfrecords
from sid_jax.errors import UserError
from sid_jax.evaluate import read_labels
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.formats import content
from sid_jax.formats.convert import FORMATS, convert
from sid_jax.formats.inputs import read_table
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages, ProgressDisplay
from tests.formats.catalogs import by_item

TABLE = IdTable(
    ["b7", "a1"],
    np.array([[1, 0, 2], [0, 3, 2]], np.int32),
    sizes=(4, 4, 4),
    columns={"title": ['Say "x"', None], "price": [1.5, None]},
    name="shop",
)
TAKEN = {"ann": ["b7", "a1", "b7", "a1"], "bob": ["a1", "b7", "a1"], "cy": ["a1"]}
COLUMNS = ("user_id", "item_id", "timestamp")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    return {
        tool: convert(TABLE, tool, folder / tool / "D", histories=TAKEN if form.histories else None, vocabulary=100)
        for tool, form in FORMATS.items()
    }


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


INDEX = {"0": ["<a_1>", "<b_0>", "<c_2>"], "1": ["<a_0>", "<b_3>", "<c_2>"]}
INTER = {"0": [0, 1, 0, 1], "1": [1, 0, 1]}


@pytest.mark.parametrize("tool", ["lcrec", "letter", "minionerec"])
def test_lcrec_and_its_kin(written, tool: str):
    assert json_of(written[tool] / "D.index.json") == INDEX
    assert json_of(written[tool] / "D.inter.json") == INTER
    none = "Item_1" if tool == "minionerec" else ""
    rest = {"description": "", "brand": "", "categories": ""}
    assert json_of(written[tool] / "D.item.json") == {"0": {"title": 'Say "x"', **rest}, "1": {"title": none, **rest}}
    assert pq.read_table(written[tool] / "item_ids.parquet").to_pylist() == [
        {"number": 0, "item_id": "b7"},
        {"number": 1, "item_id": "a1"},
    ]
    assert pq.read_table(written[tool] / "user_ids.parquet")["user_id"].to_pylist() == ["ann", "bob"]


def test_minionerec(written):
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    inter = {name: (written["minionerec"] / f"D.{name}.inter").read_text() for name in ("train", "valid", "test")}
    assert inter == {
        "train": f"{header}0\t0\t1\n",
        "valid": f"{header}0\t0 1\t0\n1\t1\t0\n",
        "test": f"{header}0\t0 1 0\t1\n1\t1 0\t1\n",
    }
    assert (written["minionerec"] / "info" / "D.txt").read_text() == (
        '<a_1><b_0><c_2>\tSay "x"\t0\n<a_0><b_3><c_2>\tItem_1\t1\n'
    )
    assert (written["minionerec"] / "train" / "D.csv").read_text() == (
        "user_id,history_item_title,item_title,history_item_id,item_id,history_item_sid,item_sid\n"
        'A0,"[\'Say ""x""\']",Item_1,[0],1,[\'<a_1><b_0><c_2>\'],<a_0><b_3><c_2>\n'
    )


def test_tensors(written):
    levels = [[1, 0], [0, 3], [2, 2]]
    for path in (written["grid"] / "semantic_ids.pt", written["nvidia"] / "item-sid-mapping.pt"):
        tensor = torch.load(path, weights_only=True)
        assert tensor.dtype == torch.int64 and tensor.tolist() == levels
    catalog = torch.load(written["rectokens"] / "catalog.pt", weights_only=True)
    assert catalog["codes"].tolist() == [[1, 0, 2], [0, 3, 2]]
    assert (catalog["num_levels"], catalog["codebook_size"]) == (3, 4)
    items = {
        "0": ["<item_L0_C1>", "<item_L1_C0>", "<item_L2_C2>"],
        "1": ["<item_L0_C0>", "<item_L1_C3>", "<item_L2_C2>"],
    }
    assert json_of(written["rectokens"] / "items.json") == items


def test_nvidia(written):
    assert pq.read_table(written["nvidia"] / "training.parquet").to_pylist() == [
        {"user_id": 0, "sequence_data": [0, 1], "sequence_length": 2},
        {"user_id": 1, "sequence_data": [1], "sequence_length": 1},
    ]
    lines = (written["nvidia"] / "catalog.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == [
        {"item_id": "b7", "token_ids": [101, 104, 110], "metadata": {"title": 'Say "x"'}},
        {"item_id": "a1", "token_ids": [100, 107, 110], "metadata": {}},
    ]
    about = {"first_id": 100, "sizes": [4, 4, 4], "offsets": [100, 104, 108]}
    assert json_of(written["nvidia"] / "vocabulary.json") == about


def test_openonerec(written):
    assert pq.read_table(written["openonerec"] / "pid2sid.parquet").to_pylist() == [
        {"pid": 0, "sid": [1, 0, 2]},
        {"pid": 1, "sid": [0, 3, 2]},
    ]
    tokens = (written["openonerec"] / "tokens.txt").read_text().split()
    assert tokens[:5] == ["<s_a_0>", "<s_a_1>", "<s_a_2>", "<s_a_3>", "<s_b_0>"]
    assert len(tokens) == 14 and tokens[-2:] == ["<|sid_begin|>", "<|sid_end|>"]
    one, other = (f"<|sid_begin|>{each}<|sid_end|>" for each in ("<s_a_1><s_b_0><s_c_2>", "<s_a_0><s_b_3><s_c_2>"))
    said = {}
    for split in ("train", "valid", "test"):
        table = pq.read_table(written["openonerec"] / f"{split}.parquet").to_pylist()
        chats = [[part["content"][0]["text"] for part in json.loads(row["messages"])] for row in table]
        said[split] = [("".join(chat[1].splitlines()[1:-1]), chat[2]) for chat in chats]
    assert said == {
        "train": [(one, other)],
        "valid": [(one + other, one), (other, one)],
        "test": [(one + other + one, other), (other + one, other)],
    }


def test_recbole(written):
    assert (written["recbole"] / "D.inter").read_text() == (
        "user_id:token\titem_id:token\ttimestamp:float\nann\tb7\t0\nann\ta1\t1\nann\tb7\t2\nann\ta1\t3\n"
        "bob\ta1\t0\nbob\tb7\t1\nbob\ta1\t2\n"
    )
    assert (written["recbole"] / "D.item").read_text() == (
        "item_id:token\tsid:token_seq\ttitle:token_seq\tprice:float\n"
        'b7\t<a_1> <b_0> <c_2>\t"Say ""x"""\t1.5\na1\t<a_0> <b_3> <c_2>\t\t\n'
    )


def test_the_header_of_recbole_has_no_quotes_since_recbole_would_not_remove_them(tmp_path: Path):
    folder = convert(TABLE.replace(columns={'size "in": cm': ["1", "2"]}), "recbole", tmp_path / "D")
    header = (folder / "D.item").read_text().splitlines()[0]
    assert header.split("\t")[2:] == ["size 'in'_ cm:token"]


def test_services(written):
    assert (written["xllm"] / "rec_vocab.bin").read_bytes() == struct.pack(
        "<qiiiqiii", 0, 101, 104, 110, 1, 100, 107, 110
    )
    assert json_of(written["flashrec"] / "sid2vid.json") == {"1,0,2": [{"pid": "b7"}], "0,3,2": [{"pid": "a1"}]}
    assert json_of(written["torch-rechub"] / "semantic_ids.json") == INDEX
    assert json_of(written["torch-rechub"] / "inter.json") == INTER


def test_rpg(written):
    (codes,) = written["rpg"].glob("*_OPQ3,IVF1,PQ3x2.sem_ids")
    assert json_of(codes) == {"b7": [1, 0, 2], "a1": [0, 3, 2]}
    assert json_of(written["rpg"] / "all_item_seqs.json") == {user: TAKEN[user] for user in ("ann", "bob")}
    mapping = json_of(written["rpg"] / "id_mapping.json")
    assert (mapping["id2item"], mapping["item2id"]) == (["[PAD]", "b7", "a1"], {"[PAD]": 0, "b7": 1, "a1": 2})
    assert (mapping["id2user"], mapping["user2id"]) == (["[PAD]", "ann", "bob"], {"[PAD]": 0, "ann": 1, "bob": 2})
    assert json_of(written["rpg"] / "metadata.sentence.json") == {"b7": 'Say "x"', "a1": ""}


def test_static(written):
    index = np.load(written["static"] / "static_index.npz")
    # There are seven states: the root, each of the four possible first codes, and the prefixes (0, 3) and (1, 0). The
    # last four rows of `packed_csr` are padding.
    assert index["packed_csr"].tolist() == [[3, 5], [0, 6], [2, 0], [2, 0]] + [[4, 0]] * 4
    assert index["indptr"].tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 8]
    assert index["layer_max_branches"].tolist() == [2, 1, 1]
    assert index["start_mask"].tolist() == [True, True, False, False]
    assert np.argwhere(index["dense_mask"]).tolist() == [[0, 3], [1, 0]]
    assert index["dense_states"][[0, 1], [3, 0]].tolist() == [5, 6]
    assert index["semantic_ids"].tolist() == [[0, 3, 2], [1, 0, 2]] and index["item_numbers"].tolist() == [1, 0]


def test_torcheasyrec(written):
    folder = written["torcheasyrec"] / "v1"
    assert pq.read_table(folder / "item_to_sid").to_pylist()[1] == {
        "item_id": "a1",
        "origin_codebook": [0, 3, 2],
        "codebook": [0, 3, 2],
        "offset_codebook": [0, 7, 10],
        "index": 1,
    }
    assert pq.read_table(folder / "sid_to_items").to_pylist()[0] == {
        "codebook": [0, 3, 2],
        "offset_codebook": [0, 7, 10],
        "itemids": ["a1"],
    }
    manifest = json_of(folder / "manifest.json")
    assert len(manifest.pop("bundle_uuid")) == 32
    entry = {"save_type": "parquet", "rows": 2}
    assert manifest == {
        "codebook": [4, 4, 4],
        "capacity": 1,
        "max_observed_items_per_sid": 1,
        "artifacts": {name: {**entry, "location": str(folder / name)} for name in ("item_to_sid", "sid_to_items")},
        "item_id_type": "string",
    }


@pytest.mark.parametrize(
    ("to", "changes", "more", "words"),
    [
        ("minionrec", {}, {}, "no format 'minionrec'; the formats are minionerec, lcrec"),
        ("minionerec", {"semantic_ids": np.array([[1, 0], [0, 1]])}, {}, "needs IDs of 3 codes, but these IDs have 2"),
        ("xllm", {"semantic_ids": np.array([[1], [0]])}, {}, "needs IDs of 3 codes, but these IDs have 1"),
        ("static", {"semantic_ids": np.array([[1], [0]])}, {}, "needs IDs of two or more codes"),
        (
            "grid",
            {"semantic_ids": np.array([[1, 0], [1, 0]])},
            {},
            "needs unique IDs: items 'b7' and 'a1' have the same",
        ),
        ("flashrec", {}, {"histories": TAKEN}, "flashrec has no file of histories"),
        ("lcrec", {}, {"histories": {"ann": ["b7", "a1"]}}, "no user has the 3 interactions"),
        ("lcrec", {}, {"histories": {"ann": ["b7", "a1", "zz"]}}, "item 'zz' is not in the catalog"),
        ("recbole", {"item_ids": ["a\tb", "c"]}, {}, "item 'a\\tb' cannot be a token of RecBole"),
        ("recbole", {"item_ids": ["", "c"]}, {}, "item '' cannot be a token of RecBole"),
        ("recbole", {"columns": {"sid ": ["x", "y"]}}, {}, "two columns 'sid'"),
    ],
)
def test_what_a_format_cannot_express_is_refused_in_one_line(tmp_path: Path, to: str, changes, more, words: str):
    table = TABLE.replace(sizes=None, shared=True, **changes)
    with pytest.raises(UserError) as error:
        convert(table, to, tmp_path / "D", **more)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_items_may_be_left_out_and_a_taken_folder_is_refused(tmp_path: Path):
    taken = {"ann": ["b7", "zz", "a1", "b7"]}
    folder = convert(TABLE, "lcrec", tmp_path / "D", histories=taken, on_unknown="drop")
    assert json_of(folder / "D.inter.json") == {"0": [0, 1, 0]}
    with pytest.raises(UserError, match="exists and is not empty"):
        convert(TABLE, "lcrec", tmp_path / "D")


def test_the_first_line_says_what_is_written_and_progress_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines: list[Any] = []
    moves: list[int] = []
    monkeypatch.setattr(content, "_BETWEEN_UPDATES", 1)
    monkeypatch.setattr(ProgressDisplay, "move", lambda self, completed, shown="": moves.append(completed))
    messages = Messages(lambda renderable, markup: lines.append(renderable), None)
    convert(TABLE, "minionerec", tmp_path / "D", histories=TAKEN, messages=messages)
    assert lines[0] == f"Writing {len(TABLE)} items and the histories of 2 users in the format of minionerec"
    # Ann's history of four items has one training target, a validation target and a test target. Bob's history of three
    # items has no training target.
    assert moves == [0, 0, 1, 0, 1]


def test_items_come_from_a_file(tmp_path: Path):
    lines = [{"sku": "a1", "name": "New", "genres": ["x", "y"], "sid": "mine"}, {"sku": "zz", "name": "?"}]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
    folder = convert(TABLE.replace(columns={}), "lcrec", tmp_path / "D", items=str(tmp_path / "items.jsonl"))
    found = json_of(folder / "D.item.json")
    assert (found["1"]["title"], found["1"]["categories"], found["0"]["title"]) == ("New", "x, y", "")


def test_files_that_others_write_are_read(tmp_path: Path):
    ids = np.array([3, 5], np.int64)
    (tmp_path / "D.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\t5\t1\t2.5\nu\t3\t2\t1e9\nv\t3\t1\t7\n"
    )
    (tmp_path / "D.item").write_text(
        "item_id:token\tsize:float\tkinds:token_seq\tbox:float_seq\n3\t1.5\ta b\t1 2\n5\t\t\t\n"
    )
    (tmp_path / "inter.json").write_text('{"u": [5, 3], "v": [3]}')
    pq.write_table(
        pa.table({"user_id": ["u", "v", "u"], "sequence_data": [[5], [3], [5, 3]]}), tmp_path / "lists.parquet"
    )
    (tmp_path / "D.train.inter").write_text(
        "user_id:token\titem_id_list:token_seq\titem_id:token\nu\t5\t3\nu\t\t5\nv\t\t3\n"
    )
    for name in ("D.inter", "inter.json", "lists.parquet", "D.train.inter"):
        histories = read_histories(tmp_path / name, ids, COLUMNS)
        found = {user: histories.of(row).tolist() for row, user in enumerate(histories.user_ids.tolist())}
        assert found == {"u": [1, 0], "v": [0]}, name
    assert column_names(tmp_path / "D.item") == ["item_id", "size", "kinds", "box"]
    found, columns = read_own_tables(str(tmp_path / "D.item"), "item_id", ["size", "kinds", "box"])
    assert found.tolist() == ["3", "5"] and columns["size"].to_pylist() == [1.5, None]
    assert columns["kinds"].to_pylist() == [["a", "b"], None] and columns["box"].to_pylist() == [[1.0, 2.0], None]
    assert read_labels(f"{tmp_path / 'D.item'}:kinds", ids) == [["a", "b"], ()]


def test_a_table_on_its_side_is_noticed(tmp_path: Path):
    wide = torch.arange(900).reshape(3, 300)
    for name, tensor in (("wide", wide), ("tall", wide.T)):
        torch.save(tensor, tmp_path / f"{name}.pt")
        table = read_id_table(*parse_id_source(f"{tmp_path / name}.pt+1"))
        assert table.semantic_ids.tolist() == wide.T.tolist() and table.item_ids.tolist() == list(range(1, 301))
    torch.save(torch.tensor([[1], [2], [3]]), tmp_path / "one.pt")
    assert read_id_table(tmp_path / "one.pt").semantic_ids.tolist() == [[1, 2, 3]]
    torch.save(wide.float(), tmp_path / "float.pt")
    with pytest.raises(UserError, match="expected a tensor of whole numbers"):
        read_id_table(tmp_path / "float.pt")
    (tmp_path / "wide.pt").rename(tmp_path / "wide")
    assert len(read_id_table(tmp_path / "wide")) == 300


def test_a_list_of_ids_of_another_catalog_is_refused(tmp_path: Path):
    convert(TABLE, "lcrec", tmp_path / "D")
    (tmp_path / "D" / "other.json").write_text('{"7": [1, 2]}')
    with pytest.raises(UserError, match="item 7 is not one of the 2 items in .*item_ids.parquet, so"):
        read_id_table(tmp_path / "D" / "other.json")


def test_a_list_of_ids_alone_gives_ids_to_codes(tmp_path: Path):
    beside = tmp_path / "item_ids.parquet"
    np.save(tmp_path / "codes.npy", [[1, 2], [1, 3], [0, 5]])
    torch.save(torch.tensor([[1, 1, 0], [2, 3, 5]]), tmp_path / "codes.pt")
    (tmp_path / "codes.json").write_text('{"2": [0, 5], "0": [1, 2]}')
    pq.write_table(pa.table({"sku": ["x", "y", "z"]}), beside)
    for name in ("codes.npy", "codes.pt"):
        table = read_id_table(tmp_path / name)
        assert table.item_ids.tolist() == ["x", "y", "z"] and table.semantic_id("z") == (0, 5), name
    assert read_id_table(tmp_path / "codes.json").item_ids.tolist() == ["z", "x"]
    # If the ids are integers, "2" and "0" in codes.json are ids, not row numbers. The rows of codes.npy still get the
    # ids in the order of the Parquet file.
    pq.write_table(pa.table({"item_id": [0, 2, 1]}), beside)
    assert read_id_table(tmp_path / "codes.npy").item_ids.tolist() == [0, 2, 1]
    assert read_id_table(tmp_path / "codes.json").item_ids.tolist() == [2, 0]


@pytest.mark.parametrize(("lines", "ids"), [("x\ny\n\nz", ["x", "y", "z"]), ("7\n9\n8\n", [7, 9, 8])])
def test_a_list_of_ids_may_be_a_text_file(tmp_path: Path, lines: str, ids: list):
    np.save(tmp_path / "codes.npy", [[1, 2], [1, 3], [0, 5]])
    beside = tmp_path / "item_ids.txt"
    beside.write_text(lines)
    assert read_id_table(tmp_path / "codes.npy").item_ids.tolist() == ids
    beside.write_text("x\ny\n")
    with pytest.raises(UserError, match=r"has 3 items, but .*item_ids\.txt has 2 ids"):
        read_id_table(tmp_path / "codes.npy")


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        ({"item_id": ["x", "y"]}, "codes.npy", "has 3 items, but .* has 2 ids; give one id per item"),
        ({"item_id": ["x"] * 3, "title": ["t"] * 3}, "codes.npy", "columns item_id, title; give the columns number"),
        ({"item_id": ["x"] * 3, "title": ["t"] * 3}, "codes.json", "columns item_id, title; give the columns number"),
        ({"item_id": [1, 2, 3]}, "codes.json", "item 0 is not among the ids in .*add a column number"),
    ],
)
def test_a_list_of_ids_that_does_not_fit_the_codes_is_refused(tmp_path: Path, columns, name: str, message: str):
    np.save(tmp_path / "codes.npy", [[1, 2], [1, 3], [0, 5]])
    (tmp_path / "codes.json").write_text('{"0": [1, 2], "1": [1, 3], "2": [0, 5]}')
    pq.write_table(pa.table(columns), tmp_path / "item_ids.parquet")
    with pytest.raises(UserError, match=message):
        read_id_table(tmp_path / name)


def test_tfrecords_are_those_of_tensorflow(tmp_path: Path):
    # The check value of CRC-32C, and Example{features{feature{"a": {int64_list{300}}}}} as protoc encodes it.
    assert crc32c(b"123456789") == 0xE3069283
    write_tfrecords(tmp_path / "a.tfrecord.gz", [{"a": [300]}])
    data = bytes.fromhex("0a0d0a0b0a016112061a040a02ac02")
    with gzip.open(tmp_path / "a.tfrecord.gz") as file:
        length, check = struct.unpack("<QI", file.read(12))
        content, last = file.read(length), struct.unpack("<I", file.read(4))[0]
        assert (length, content, file.read()) == (15, data, b"")
    for part, masked in ((struct.pack("<Q", 15), check), (data, last)):
        turned = (masked - 0xA282EAD8) & 0xFFFFFFFF
        assert (turned >> 17 | turned << 15) & 0xFFFFFFFF == crc32c(part)


def test_tfrecords_that_others_write_are_read_and_damaged_ones_refused(tmp_path: Path):
    path = tmp_path / "a.tfrecord.gz"
    numbers = [0, 1, 127, 128, 2**31, 2**63 - 1]
    write_tfrecords(path, [{"user_id": [3], "sequence_data": numbers}, {"user_id": [300], "items": []}])
    content = gzip.decompress(path.read_bytes())
    # The example has a list of the integers 5, -1 and 0, in the unpacked encoding, and a list of bytes.
    example = bytes.fromhex("0a230a160a016112111a0f080508" + "ff" * 9 + "01" + "0800" + "0a090a016212040a020a00")

    def masked(part: bytes) -> bytes:
        check = crc32c(part)
        return struct.pack("<I", ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(example))
    (tmp_path / "b.tfrecord").write_bytes(content + length + masked(length) + example + masked(example))
    first = [{"user_id": [3], "sequence_data": numbers}, {"user_id": [300], "items": []}]
    assert read_tfrecords(tmp_path / "b.tfrecord") == [*first, {"a": [5, -1, 0]}]
    with pytest.raises(UserError, match=r"record 1 \(counted from 0\) must have one user_id and a sequence_data"):
        read_histories(path, np.arange(9), COLUMNS)
    for place in range(0, len(content), 3):
        (tmp_path / "b.tfrecord").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match="not a readable .tfrecord file"):
            read_tfrecords(tmp_path / "b.tfrecord")


def test_minionerecs_info_file_is_read_with_titles(tmp_path: Path):
    path = tmp_path / "D.txt"
    path.write_bytes("<a_1><b_20>\tOne\ttwo\t7\r\n<a_0><b_3>\té\t2\n".encode())
    shutil.copy(path, tmp_path / "D")
    for named in (path, tmp_path / "D"):
        table = read_id_table(named)
        assert by_item(table) == {"7": [1, 20], "2": [0, 3]}
        assert table.columns["title"].to_pylist() == ["One\ttwo", "é"]
    for line in ("<a_1>\tx\ty", "<a_1>\t3", "text", "a_1\tx\t3", "<a_1>b\tx\t3"):
        path.write_text(f"<a_1>\tx\t1\n{line}\n")
        with pytest.raises(UserError, match="line 2 is not an item's tokens .*, title and number"):
            read_id_table(path)


def test_a_bundle_with_two_generations_needs_the_name_of_one(written, tmp_path: Path):
    folder = written["torcheasyrec"]
    for name in ("v1", "v2"):
        (tmp_path / name).symlink_to(folder / "v1")
    with pytest.raises(UserError, match="several tables of Semantic IDs, v1/item_to_sid, v2/item_to_sid; give one"):
        read_id_table(tmp_path)
    wanted = {"b7": [1, 0, 2], "a1": [0, 3, 2]}
    assert by_item(read_id_table(tmp_path / "v2")) == by_item(read_table(str(tmp_path / "v2"))) == wanted


def test_grid_has_the_splits_in_folders(written):
    found = {}
    for name in ("training", "evaluation", "testing"):
        with gzip.open(written["grid"] / name / "0.tfrecord.gz") as file:
            content = file.read()
        # Field 3 of a feature is its int64_list. Field 1 of this list has the values, each in one byte.
        starts = [match.end() for match in re.finditer(rb"sequence_data\x12.\x1a.\x0a.", content, re.S)]
        found[name] = [list(content[start : start + content[start - 1]]) for start in starts]
    assert found == {
        "training": [[0, 1], [1]],
        "evaluation": [[0, 1, 0], [1, 0]],
        "testing": [[0, 1, 0, 1], [1, 0, 1]],
    }


def test_titles_in_the_items_of_recbole_are_texts_and_genres_are_lists(tmp_path):
    header = "item_id:token\tmovie_title:token_seq\tclass:token_seq\tcategories:token_seq\n"
    (tmp_path / "D.item").write_text(f"{header}3\tToy Story\tChildren Comedy\tFilms, Short films\n5\t\tDrama\t\n")
    _, columns = read_own_tables(str(tmp_path / "D.item"), "item_id", ["movie_title", "class", "categories"])
    assert {name: values.to_pylist() for name, values in columns.items()} == {
        "movie_title": ["Toy Story", None],
        "class": [["Children", "Comedy"], ["Drama"]],
        "categories": ["Films, Short films", None],
    }


def test_titles_survive_the_way_through_the_items_of_recbole(tmp_path):
    table = TABLE.with_columns({"item_id": ["b7", "a1"], "title": ["Toy Story", "Heat"], "genres": [["A b", "C"], []]})
    convert(table, "recbole", tmp_path / "R")
    convert(TABLE, "lcrec", tmp_path / "L", items=tmp_path / "R" / "R.item")
    assert json_of(tmp_path / "L" / "L.item.json")["0"] == {
        "title": "Toy Story", "description": "", "brand": "", "categories": "A b, C",
    }  # fmt: skip


def test_items_that_give_nothing_are_refused_with_what_to_give(tmp_path):
    def refused(text: str) -> str:
        (tmp_path / "items.csv").write_text(text)
        with pytest.raises(UserError) as error:
            convert(TABLE, "lcrec", tmp_path / "L", items=tmp_path / "items.csv")
        return str(error.value)

    assert "the only column, 'item_id', has the item ids; give further columns" in refused("item_id\nb7\n")
    assert "the only column, 'title', has the item ids; give further columns" in refused("title\nHeat\n")
    told = refused("sku,title\nc9,Heat\n")
    assert "no item id of the column 'sku', such as 'c9', is in the ID table, which has items such as 'b7'" in told
    with pytest.raises(UserError, match="the columns of items must be an Arrow table, a DataFrame or a mapping, not 5"):
        convert(TABLE, "lcrec", tmp_path / "L", items=5)
    assert list(tmp_path.iterdir()) == [tmp_path / "items.csv"]
