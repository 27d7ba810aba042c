"""Nightly updates: retries, empty updates, items that change or return, and when to retrain."""

import io
import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sid_jax import SemanticIdTokenizer, UserError, lite, load, signals
from sid_jax.append.run import append, append_items
from sid_jax.append.verdict import in_words, verdict
from sid_jax.bulk.run import export_files
from sid_jax.config import default_config
from sid_jax.data.vector_set import VectorSet
from sid_jax.diff import compare
from sid_jax.export import atomic
from sid_jax.export.artifact import load_export, write_export
from sid_jax.export.atomic import atomic_folder
from sid_jax.export.manifest import read_manifest
from sid_jax.export.run import export
from sid_jax.features.run import make_features
from sid_jax.metrics.crowding import crowding_line
from sid_jax.report.run import report_of
from sid_jax.tokens.write import write_tokens
from sid_jax.training.quantizer import train_quantizer
from tests.append.conftest import made_vectors, make_export, write_vectors
from tests.commands import start

NUM_ITEMS = 30


class Said:
    """Records messages."""

    def __init__(self):
        from rich.console import Console

        from sid_jax.messages import Messages

        self._text = io.StringIO()
        self.messages = Messages.to_console(Console(file=self._text, width=1000))

    @property
    def text(self):
        return self._text.getvalue()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """An export of the items 0 to 29, with prices."""
    folder = tmp_path_factory.mktemp("first") / "v1"
    prices = np.arange(NUM_ITEMS, dtype=float)
    return make_export(folder, list(range(NUM_ITEMS)), made_vectors(range(NUM_ITEMS)), columns={"price": prices})


@pytest.fixture(scope="module")
def run_of_items(tmp_path_factory):
    """A folder with `run`, a run that has too few codes for the items in `items.npy`; and the messages of the run."""
    folder, random = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    config = default_config()
    config.model.update({"num_levels": 2, "codebook_size": 8, "hidden_dimensions": (8,), "latent_dimension": 4})
    config.train.update({"batch_size": 64, "num_epochs": 1, "warmup_epochs": 0.5, "revive_every_epochs": 0.0})
    vectors, said = random.normal(size=(256, 8)).astype(np.float32), Said()
    config.ids.unique, config.data.path = "suffix", str(folder / "items.npy")
    np.save(folder / "items.npy", vectors)
    data = VectorSet(ids=np.arange(256), vectors=vectors, source=config.data.path)
    train_quantizer(config, data, workdir=folder / "run", messages=said.messages)
    return folder, said.text


def night(before, out, *args, **kwargs):
    """Appends with a report, as the command does, and returns the messages."""
    said = Said()
    append(before, out, *args, finish=report_of(out, said.messages), messages=said.messages, **kwargs)
    return said.text


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ids_of(folder):
    table = load_export(folder, verify=True).table
    return dict(zip(table.item_ids.tolist(), map(tuple, table.semantic_ids.tolist()), strict=True))


@pytest.fixture
def new(tmp_path):
    return [write_vectors(tmp_path / "new.parquet", [40, 41], made_vectors([40, 41]), price=[1.5, 2.5])]


def test_the_same_night_again_into_the_same_folder_is_the_same_version(first, tmp_path, new):
    gone = tmp_path / "gone.txt"
    gone.write_text("3\n4\n")
    night(first, tmp_path / "v2", new, removed=gone)
    before = content(tmp_path / "v2")
    # The upstream job writes the same rows again, in another order.
    write_vectors(tmp_path / "new.parquet", [41, 40], made_vectors([41, 40]), price=[2.5, 1.5])
    gone.write_text("4\n3\n")
    assert "already has this export, from the same inputs and settings" in night(
        first, tmp_path / "v2", new, removed=gone
    )
    assert content(tmp_path / "v2") == before
    for changed in ({"reuse_removed": True}, {"on_known": "move"}):
        with pytest.raises(UserError, match="exists and is not empty: it is an export of other inputs or settings"):
            night(first, tmp_path / "v2", new, removed=gone, **changed)
    with pytest.raises(UserError, match="of other inputs"):
        night(first, tmp_path / "v2", new)
    assert content(tmp_path / "v2") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone.txt", "new.parquet", "v2"]


def test_a_version_without_its_report_gets_it_from_the_retry(first, tmp_path, new):
    night(first, tmp_path / "v2", new)
    before = content(tmp_path / "v2")
    (tmp_path / "v2" / "report.html").unlink()
    night(first, tmp_path / "v2", new)
    after = content(tmp_path / "v2")
    # Plots are numbered within a process, so the lengths of the reports differ a little.
    assert len(after.pop(Path("report.html"))) == pytest.approx(len(before.pop(Path("report.html"))), abs=1000)
    assert after == before


def test_a_first_export_and_one_of_files_are_recognized_too(run_of_items, tmp_path):
    folder, _ = run_of_items
    inputs = [str(folder / "items.npy")]
    for make in (export, lambda *args, **kwargs: export_files(*args, inputs, **kwargs)):
        out, said = tmp_path / f"out-{make.__name__}", Said()
        make(folder / "run", out, messages=said.messages)
        before = content(out)
        make(folder / "run", out, messages=said.messages)
        assert "already has this export" in said.text and content(out) == before
        with pytest.raises(UserError, match="other inputs or settings"):
            make(folder / "run", out, unique="none", messages=said.messages)


def test_tokens_and_features_of_a_version_that_are_written_again_are_the_same_or_refused(first, tmp_path):
    for write, folder, setting, values in (
        (write_tokens, first, "first_id", (5, 7)),
        (make_features, str(first), "num_rows", (20, 19)),
    ):
        out = tmp_path / setting
        write(folder, out, messages=Said().messages, **{setting: values[0]})
        before = content(out)
        write(folder, out, messages=Said().messages, **{setting: values[0]})
        with pytest.raises(UserError, match="exists and is not empty"):
            write(folder, out, messages=Said().messages, **{setting: values[1]})
        assert content(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first_id", "num_rows"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ImportError("no bokeh"), MemoryError()])
def test_a_report_that_cannot_be_written_is_a_warning_and_the_version_is_complete(
    first, tmp_path, new, monkeypatch, error
):
    monkeypatch.setattr("sid_jax.report.run._write", lambda *_: (_ for _ in ()).throw(error))
    said = night(first, tmp_path / "v2", new)
    assert "warning: the export is complete, but its report cannot be written" in said
    assert f"sid-jax report {tmp_path / 'v2'}" in said and "--out" not in said
    assert len(ids_of(tmp_path / "v2")) == NUM_ITEMS + 2


def test_a_signal_after_a_version_has_its_name_changes_nothing_and_one_before_leaves_nothing(tmp_path, monkeypatch):
    rename = Path.rename
    for late in (True, False):

        def renamed(path, target, late=late):
            if late:
                rename(path, target)
            signal.raise_signal(signal.SIGTERM)
            return target if late else rename(path, target)

        with monkeypatch.context() as patch, signals.stopping():
            signals.end_with_publication()
            patch.setattr(Path, "rename", renamed)
            with atomic_folder(tmp_path / f"late-{late}") as folder:
                (folder / "manifest.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late-False", "late-True"]


def test_a_command_that_has_ended_hides_no_later_signal_from_the_same_process():
    with signals.stopping():
        signals.end_with_publication()
        signals.has_published()
    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signals.Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interruption.pass_on()
    finally:
        signal.signal(signal.SIGINT, left)


def test_a_signal_during_the_report_leaves_no_version(first, tmp_path, new):
    def stopped(_):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(signals.Stopped), signals.stopping():
        append(first, tmp_path / "v2", new, finish=stopped, messages=Said().messages)
    assert [path.name for path in tmp_path.iterdir()] == ["new.parquet"]


def test_a_copy_that_was_killed_where_folders_cannot_be_renamed_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    for name in (atomic._COPYING, "half"):
        (tmp_path / "out" / name).touch()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "manifest.json").write_text("{}")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_nights_without_news_are_versions_that_say_so(first, tmp_path):
    spark = tmp_path / "spark"
    spark.mkdir()
    (spark / "_SUCCESS").touch()
    (tmp_path / "none.txt").touch()
    (tmp_path / "gone.txt").write_text("77\n")
    no_rows = write_vectors(tmp_path / "none.parquet", [], np.empty((0, 6)))
    pq.write_table(pq.read_table(no_rows), no_rows)
    all_bad = write_vectors(tmp_path / "bad.parquet", [50], np.full((1, 6), np.nan, np.float32))
    came = write_vectors(tmp_path / "came.parquet", [77], made_vectors([77]))
    nights = {
        "no rows": ([no_rows], {}),
        "a finished folder without files": ([str(spark)], {}),
        "bad rows alone, which are left out": ([all_bad], {"on_bad_rows": "drop"}),
        "an empty list of removals": ([], {"removed": tmp_path / "none.txt"}),
        "an item that came and went": ([came], {"removed": tmp_path / "gone.txt"}),
    }
    before = first
    for number, (name, (inputs, more)) in enumerate(nights.items(), 2):
        out = tmp_path / name
        said = night(before, out, inputs, **more)
        assert "This version has the same items and IDs as the previous one" in said, name
        assert ids_of(out) == ids_of(first) and read_manifest(out)["version"]["number"] == number
        before = out
    assert "1 item of the input was ignored, since it is also to be removed and was never published" in said


def test_a_known_item_with_another_vector_keeps_its_id_and_the_drift_is_said(first, tmp_path):
    known = [write_vectors(tmp_path / "known.parquet", [7, 8], 5 + made_vectors([50, 51]), price=[99.0, None])]
    said = night(first, tmp_path / "v2", known)
    assert ids_of(tmp_path / "v2") == ids_of(first)
    assert "2 known or returned items get other codes from their current vectors and keep their IDs" in said
    assert "1 known or returned item got new column values" in said and "the same items and IDs" not in said
    found = load_export(tmp_path / "v2")
    # A null value of the input does not replace a published value.
    assert found.table.columns["price"].to_pylist() == [99.0 if item == 7 else item for item in range(NUM_ITEMS)]
    fit = found.manifest["drift"]["known_items"]
    assert fit["num_items"] == fit["changed"] == 2 and fit["r2_unique"] < fit["r2"]
    with pytest.raises(
        UserError, match=r"item 7 \(and 1 more\) is already in the export; .* --on_known=keep or --on_known=move"
    ):
        night(first, tmp_path / "v3", known, on_known="error")


@pytest.mark.parametrize("scheme", ["relocate", "suffix", "none"])
def test_a_known_item_that_moves_gets_a_new_id_and_nobody_else_the_old_one(tmp_path, scheme):
    make_export(tmp_path / "v1", list(range(20)), made_vectors(range(20)), scheme=scheme)
    changed = made_vectors(range(20))
    changed[[4, 9]] = made_vectors([52, 53])
    known = [write_vectors(tmp_path / "known.parquet", list(range(20)), changed)]
    said = night(tmp_path / "v1", tmp_path / "v2", known, on_known="move")
    before, after = ids_of(tmp_path / "v1"), ids_of(tmp_path / "v2")
    assert {item for item in before if before[item] != after[item]} == {4, 9}
    assert "2 got new IDs; their old IDs are in former.parquet" in said
    listed = pq.read_table(tmp_path / "v2" / "former.parquet").to_pydict()
    assert (listed["item_id"], listed["moved_in"]) == ([4, 9], [2, 2])
    assert list(map(tuple, listed["semantic_id"])) == [before[4], before[9]]
    np.testing.assert_array_equal(
        load_export(tmp_path / "v2").table.codes[[4, 9]], load(tmp_path / "v1").encode(changed[[4, 9]])
    )
    taken = lite.load(tmp_path / "v2")
    assert len(taken.table) == 20 and {before[4], before[9]} <= taken._taken.keys()
    # A repeated append changes no ID, and old IDs stay reserved, in memory and in files.
    night(tmp_path / "v2", tmp_path / "v3", known, on_known="move")
    assert ids_of(tmp_path / "v3") == after
    new = append_items(load_export(tmp_path / "v3"), range(20, 35), made_vectors(range(20, 35)))
    given = set(map(tuple, new.table.semantic_ids[20:].tolist()))
    assert scheme == "none" or given.isdisjoint({before[4], before[9], *after.values()})
    write_export(new, tmp_path / "v4")
    assert load_export(tmp_path / "v4").former.to_arrow().equals(load_export(tmp_path / "v3").former.to_arrow())
    if scheme == "relocate":
        full = append_items(new, range(35, 58), np.ones((23, 6)) * np.arange(23)[:, None])
        with pytest.raises(UserError, match="only 0 free IDs out of 60"):
            append_items(full, [58], np.ones((1, 6)))
        reused = append_items(full, [58, 59], np.eye(2, 6), reuse_removed=True)
        assert reused.former is None and len(reused.table) == 60


def test_an_old_file_that_is_appended_again_is_said_and_can_be_refused(first, tmp_path):
    (tmp_path / "gone.txt").write_text("3\n4\n")
    night(first, tmp_path / "v2", removed=tmp_path / "gone.txt")
    old = [write_vectors(tmp_path / "old.parquet", [3, 5], made_vectors([3, 5]))]
    said = night(tmp_path / "v2", tmp_path / "v3", old)
    assert "warning: 1 item of the input had been removed earlier (in version 2) and returned, such as 3." in said
    with pytest.raises(UserError, match=r"item 3 was removed earlier \(in version 2\)"):
        night(tmp_path / "v2", tmp_path / "v4", old, on_returned="error")
    with pytest.raises(UserError, match="on_known is 'drop'; it must be one of keep, move, error"):
        append_items(load_export(first), [1], made_vectors([1]), on_known="drop")


def test_retraining_that_is_due_stays_due_in_later_versions_with_cause_and_remedy(first, tmp_path):
    far = [write_vectors(tmp_path / "far.parquet", list(range(50, 62)), 20 + made_vectors(range(50, 62)))]
    assert "Retraining is due: " in night(first, tmp_path / "v2", far)
    known = [write_vectors(tmp_path / "known.parquet", [1], made_vectors([1]))]
    said = night(tmp_path / "v2", tmp_path / "v3", known)
    assert "Retraining is due: " in said and "(since version 2)" in said
    judged = read_manifest(tmp_path / "v3")["drift"]["verdict"]
    assert judged["retraining_is_due"] and judged["due_since"] == 2 and judged["ids_to_change"] == NUM_ITEMS + 12
    assert judged["r2_to_gain"] > 0.02 and {each["version"] for each in judged["standing"]} == {2}


def drift_of(*, r2=0.7, moved=0.1, num_new=20, fill=0.1):
    shift = [{"distance": 0.2, "by_chance": 0.2}]
    new = {
        "num_items": num_new,
        "r2": r2,
        "r2_unique": r2,
        "r2_standard_error": 0.0,
        "relocated": moved,
        "collide": 0.1,
    }
    return {
        "reference": {"r2": 0.7, "spread": 2.0, "r2_cold": None},
        "new_items": {**new, "code_shift": shift},
        "since_training": {"num_items": num_new, "r2": r2, "relocated": moved},
        "fill": fill,
        "free": 10,
    }


def test_a_crowded_table_is_told_from_items_that_have_changed(tmp_path):
    crowded = verdict(drift_of(moved=0.85), 1000, remedy="--config.model.num_levels=5")
    assert {each["cause"] for each in crowded["standing"]} == {"crowded"}
    assert "the same settings will not help" in crowded["remedy"] and "num_levels=5" in crowded["remedy"]
    assert {each["cause"] for each in verdict(drift_of(fill=0.95), 1000)["standing"]} == {"crowded"}
    drifted = verdict(drift_of(r2=0.4), 1000)
    assert {each["cause"] for each in drifted["standing"]} == {"drift"}
    assert "with the same settings" in drifted["remedy"] and "up to 1,000 IDs" in drifted["remedy"]
    assert "too few codes" not in drifted["remedy"]
    # The model assigns only a few of its codes to items of unseen kinds, so these items collide with each other even if
    # there are enough codes.
    both = verdict(drift_of(r2=0.4, moved=0.85), 1000, remedy="--config.model.num_levels=5")
    assert {each["cause"] for each in both["standing"]} == {"drift", "crowded"}
    assert "with the same settings. If the training then warns of too few codes" in both["remedy"]
    assert "num_levels=5" in both["remedy"] and "will not help" not in both["remedy"]
    # If nearly all IDs are in use, there are too few codes in any case.
    assert "will not help" in verdict(drift_of(r2=0.4, fill=0.95), 1000)["remedy"]
    # A single new item does not make retraining due.
    assert not verdict(drift_of(r2=0.0, moved=1.0, num_new=1), 1000)["retraining_is_due"]
    # The R² of 100 new items is 0.1 below that of training items, which lowers the R² of a catalog of 1,000 items by
    # 0.01. If 225 of 1,125 items were new, the R² of the catalog would be lower by 0.02, which is the threshold.
    fitting = drift_of(r2=0.6, num_new=100)
    assert verdict(fitting, 1000)["new_items_until_due"] == 125
    assert in_words({**fitting, "verdict": verdict(fitting, 1000)})[-2:] == [
        "Retraining is expected to be due after about 125 more items like those added since training",
        "Retraining is not due.",
    ]


def test_reasons_in_manifests_of_earlier_versions_of_the_package_still_count():
    # Manifests of the first versions of the package have no "standing" and no "cause".
    crowded, other = "share of new items that got others than their codes", "x"
    checks = [{"what": what, "value": 0.9, "threshold": 0.5, "due": what != "y"} for what in (crowded, other, "y")]
    judged = verdict(drift_of(), 1000, number=5, before={"retraining_is_due": True, "checks": checks})
    assert judged["due_since"] == 4
    assert [(each["name"], each["cause"]) for each in judged["standing"]] == [
        ("new_relocated", "crowded"),
        ("x", "drift"),
    ]
    assert "too few codes" in judged["remedy"]
    # Manifests of somewhat later versions of the package have texts and causes, but no names of checks. A check that is
    # due again is listed once, with the first version of the export in which it was due.
    before = {**checks[0], "cause": "crowded", "version": 3, "due": True}
    judged = verdict(drift_of(moved=0.95), 1000, number=5, before={"standing": [before]})
    found = {each["name"]: each for each in judged["standing"]}
    assert set(found) == {"new_relocated", "relocated_since_training"}
    assert (found["new_relocated"]["version"], found["new_relocated"]["value"]) == (3, 0.95)
    assert found["new_relocated"]["what"] == "share of new items that were relocated"
    # Later versions of the package have names of checks, two of which have been renamed.
    renamed = verdict(drift_of(), 1000, number=5, before={"standing": [{**before, "name": "new_moved"}]})
    assert [each["name"] for each in renamed["standing"]] == ["new_relocated"]
    # The next version of the export keeps these reasons.
    assert verdict(drift_of(), 1000, number=6, before=judged)["standing"] == judged["standing"]
    # Earlier texts of these two checks are recognized, too.
    whose = "whose IDs differ from their codes"
    texts = {
        "new_relocated": f"share of new items {whose}",
        "relocated_since_training": f"share of items added since training {whose}",
    }
    standing = [{"what": what, "value": 0.9, "threshold": 0.5, "version": 2} for what in texts.values()]
    judged = verdict(drift_of(), 1000, number=3, before={"standing": standing})
    assert [(each["name"], each["cause"]) for each in judged["standing"]] == [(name, "crowded") for name in texts]


def test_too_few_codes_are_a_warning_of_training_and_export_with_what_to_set(run_of_items, tmp_path):
    folder, said = run_of_items
    assert "of the items share their codes with other items: there are too few codes for 256 items" in said
    assert "--config.model.num_levels=" in said
    spoken = Said()
    export_files(folder / "run", tmp_path / "out", [str(folder / "items.npy")], unique="none", messages=spoken.messages)
    assert spoken.text.count("warning: ") == 1 and "num_levels=" in spoken.text
    figures = {
        "num_items": 10_000,
        "distinct_rate": 0.25,
        "collision_share": 0.8,
        "codebook_size": [256, 256],
        "usage": [1.0, 0.95],
    }
    assert "and 75.0% of the items got IDs that differ from their codes" in crowding_line(figures, 0.75)
    assert "codebook_size=" not in crowding_line({**figures, "num_items": 300})
    # Equal vectors cannot be distinguished by any codes.
    assert crowding_line({**figures, "max_distinct_rate": 0.25}) is None
    # A short run leaves codes unused. More levels are the remedy after such a run only if items outnumber the possible
    # code tuples.
    short = crowding_line({**figures, "usage": [0.8, 0.75]})
    assert "75.0%" in short and "--config.train.num_epochs" in short and "num_levels" not in short
    few = crowding_line({**figures, "codebook_size": [64, 64], "usage": [0.8, 0.75]})
    assert "--config.model.num_levels=" in few
    # With 10,000 items, random codes would leave 37 % of 10,000 codes unused, so this usage is no sign of a short run.
    even = crowding_line({**figures, "codebook_size": [10_000] * 2, "usage": [0.63, 0.6]})
    assert "--config.model.num_levels=" in even


def test_after_an_alignment_it_is_said_how_many_old_ids_name_other_items(run_of_items, tmp_path):
    folder, _ = run_of_items
    export(folder / "run", tmp_path / "old", messages=Said().messages)
    old = load_export(tmp_path / "old").table
    shuffled = old.replace(item_ids=np.roll(old.item_ids, 1))
    pq.write_table(shuffled.to_arrow(), tmp_path / "other.parquet")
    inputs, counts = [str(folder / "items.npy")], []
    for make in (export, lambda *args, **kwargs: export_files(*args, inputs, **kwargs)):
        out, said = tmp_path / make.__name__, Said()
        make(folder / "run", out, align_to=tmp_path / "other.parquet", messages=said.messages)
        counts.append(read_manifest(out)["renumbered"]["num_reassigned"])
        assert f"warning: {counts[-1]:,} IDs of other now belong to other items" in said.text
        assert counts[-1] == compare(shuffled, load_export(out).table)["num_reassigned"]
    assert counts[0] == counts[1] > 0


def test_the_parquet_files_of_an_export_of_files_are_read_as_one_table(run_of_items, tmp_path):
    folder, _ = run_of_items
    (tmp_path / "parts").mkdir()
    vectors = np.load(folder / "items.npy")
    for number in range(2):
        rows = range(128 * number, 128 * number + 128)
        write_vectors(tmp_path / "parts" / f"{number}.parquet", rows, vectors[rows])
    export_files(folder / "run", tmp_path / "out", [str(tmp_path / "parts")], messages=Said().messages)
    table = pd.read_parquet(tmp_path / "out" / "ids.parquet")
    assert table["item_id"].tolist() == list(range(256))
    # Earlier versions of the package wrote these files into the export's folder itself, not into a subfolder.
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for path in (tmp_path / "out" / "ids.parquet").iterdir():
        path.rename(tmp_path / "out" / path.name)
        manifest["files"][path.name] = manifest["files"].pop(f"ids.parquet/{path.name}")
    (tmp_path / "out" / "ids.parquet").rmdir()
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    assert load(tmp_path / "out").table.item_ids.tolist() == list(range(256))


def test_in_memory_too_items_move_and_returns_are_refused(first):
    tokenizer = load(first)
    assert isinstance(tokenizer, SemanticIdTokenizer)
    old = tokenizer.table.semantic_id(7)
    tokenizer.append([7], 5 + made_vectors([50]), on_known="move")
    assert tokenizer.table.semantic_id(7) != old
    tokenizer.append(remove=[7])
    with pytest.raises(UserError, match="on_returned=accept"):
        tokenizer.append([7], made_vectors([7]), on_returned="error")


def test_ctrl_c_ends_a_night_quietly_and_leaves_nothing(first, tmp_path, new):
    process = start(
        "export.py", f"--append_to={first}", f"--input={new[0]}", f"--out={tmp_path / 'v2'}", start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".v2.partial")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "stopped by SIGINT\n")
    assert [path.name for path in tmp_path.iterdir()] == ["new.parquet"]


def test_a_version_is_not_written_into_the_export_that_it_reads(first, tmp_path):
    new = write_vectors(tmp_path / "new.parquet", [70], made_vectors([70]))
    before = sorted(first.iterdir())
    for out in (first / "next", first / "a" / "next"):
        with pytest.raises(UserError, match="is inside the export .* choose a folder outside it"):
            append(first, out, [new], messages=Said().messages)
    assert sorted(first.iterdir()) == before
