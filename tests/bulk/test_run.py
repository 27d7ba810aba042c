"""Exports of vectors in files: `export.py --workdir=RUN --input=FILES`."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax.append.run import append
from sid_jax.bulk.engine import _do, _in_order
from sid_jax.bulk.run import export_files
from sid_jax.diff import diff
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.manifest import read_measured
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.training.quantizer import train
from tests.commands import environment, run
from tests.export.test_run import small_run

SILENT = Messages.silent()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run, `run`, and its 300 vectors, `items.npy`."""
    folder = tmp_path_factory.mktemp("bulk")
    train(
        small_run(folder, np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)),
        folder / "run",
        messages=Messages.silent(),
    )
    return folder


def test_an_export_of_the_runs_own_vectors_is_the_usual_one(trained, tmp_path):
    export(trained / "run", tmp_path / "usual", messages=Messages.silent())
    words = [f"--workdir={trained}/run", f"--input={trained}/items.npy", f"--out={tmp_path}/files", "--report"]
    words += ["--onnx", "--stablehlo"]
    result = run("export.py", *words)
    assert result.returncode == 0, result.stderr
    assert "300 Semantic IDs of step 50" in result.stdout and "on a sample" not in result.stdout
    files = (
        "ids.parquet, codebooks.pt, codebooks.safetensors, encoder.onnx, encoder.stablehlo, report.json, manifest.json"
    )
    assert f"The export is in {tmp_path}/files: {files}, report.html\n" in result.stdout
    usual, files = load_export(tmp_path / "usual"), load_export(tmp_path / "files", verify=True)
    assert files.table.to_arrow().equals(usual.table.to_arrow())
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [
        "codebooks.pt", "codebooks.safetensors", "encoder.onnx", "encoder.stablehlo", "ids.parquet", "manifest.json",
        "report.html", "report.json",
    ]  # fmt: skip
    assert files.table.semantic_id(7) == usual.table.semantic_id(7)
    np.testing.assert_array_equal(files.encode(np.load(trained / "items.npy")), usual.table.codes)
    for name, value in files.manifest["metrics"].items():
        if name in usual.manifest["metrics"]:
            assert usual.manifest["metrics"][name] == pytest.approx(value), name
    assert files.manifest["metrics"]["r2_sampled"] == pytest.approx(usual.manifest["metrics"]["r2"], abs=1e-5)


def test_the_run_needs_neither_its_data_nor_one_file(trained, tmp_path):
    """The input is two .parquet files with ids that the run does not know. The run's own vectors are moved away."""
    vectors = np.load(trained / "items.npy")
    (trained / "items.npy").rename(tmp_path / "elsewhere.npy")
    try:
        for number in range(2):
            ids = [f"sku-{number}-{row}" for row in range(150)]
            lists = pa.array(list(vectors[150 * number :][:150]), pa.list_(pa.float32()))
            pq.write_table(pa.table({"item_id": ids, "vector": lists}), tmp_path / f"{number}.parquet")
        export_files(trained / "run", tmp_path / "out", [f"{tmp_path}/*.parquet"], messages=SILENT)
    finally:
        (tmp_path / "elsewhere.npy").rename(trained / "items.npy")
    loaded = load_export(tmp_path / "out")
    assert loaded.table.item_ids[[0, 299]].tolist() == ["sku-0-0", "sku-1-149"]
    assert len(np.unique(loaded.table.semantic_ids, axis=0)) == 300
    table = read_id_table(tmp_path / "out")
    assert table.name == "out" and table.item_ids.tolist() == loaded.table.item_ids.tolist()
    np.testing.assert_array_equal(table.semantic_ids, loaded.table.semantic_ids)


def renamed(source, out, seed=0):
    """Permutes the code numbers of each level of an ID table, writes the new IDs to `out`, and returns them."""
    table, random = read_id_table(source), np.random.default_rng(seed)
    names = [random.permutation(8) for _ in range(3)]
    codes = np.stack([name[level] for name, level in zip(names, table.semantic_ids.T, strict=True)], axis=1)
    out.write_text(json.dumps(dict(zip(map(str, table.item_ids.tolist()), codes.tolist(), strict=True))))
    return codes


def test_a_new_models_codes_are_numbered_like_an_old_ones_in_every_file(trained, tmp_path):
    export(trained / "run", tmp_path / "usual", messages=Messages.silent())
    wanted = renamed(tmp_path / "usual", tmp_path / "old.json")
    inputs = [f"{trained}/items.npy"]
    how = {"align_to": tmp_path / "old.json", "programs": ["onnx"], "messages": SILENT}
    # The second iteration repeats both exports, as a retry does.
    for _ in range(2):
        export(trained / "run", tmp_path / "aligned", **how)
        export_files(trained / "run", tmp_path / "files", inputs, **how)
    for name in ("aligned", "files"):
        loaded = load_export(tmp_path / name, verify=True)
        np.testing.assert_array_equal(loaded.table.semantic_ids, wanted)
        codes = loaded.table.codes
        np.testing.assert_array_equal(loaded.encode(np.load(trained / "items.npy")), codes)
        graph = onnxruntime.InferenceSession(tmp_path / name / "encoder.onnx")
        np.testing.assert_array_equal(graph.run(None, {"vectors": np.load(trained / "items.npy")})[0], codes)
        record = loaded.manifest["renumbered"]
        assert (record["to"], record["num_common"], len(record["orders"])) == ("old", 300, 3)
    import torch

    dump = torch.load(tmp_path / "aligned" / "codebooks.pt", weights_only=True)["codebooks"].numpy()
    np.testing.assert_array_equal(dump, np.stack(load_export(tmp_path / "aligned").model.quantizer.codebooks))
    assert diff(str(tmp_path / "old.json"), str(tmp_path / "aligned"), messages=SILENT)["num_changed"] == 0
    with pytest.raises(UserError, match="no item of the export is in strangers"):
        (tmp_path / "strangers.json").write_text('{"x": [1, 2, 3]}')
        export(trained / "run", tmp_path / "none", align_to=tmp_path / "strangers.json", messages=Messages.silent())


def test_appending_takes_the_run_that_the_export_came_from_and_no_other(trained, tmp_path):
    export(trained / "run", tmp_path / "v1", messages=Messages.silent())
    renamed(tmp_path / "v1", tmp_path / "old.json")
    export(trained / "run", tmp_path / "aligned", align_to=tmp_path / "old.json", messages=Messages.silent())
    vectors = np.random.default_rng(9).normal(size=(20, 12)).astype(np.float32)
    np.save(tmp_path / "new.npy", vectors)
    (tmp_path / "ids.txt").write_text("\n".join(map(str, range(300, 320))))
    new = {"inputs": [f"{tmp_path}/new.npy"], "ids_paths": [f"{tmp_path}/ids.txt"], "messages": SILENT}
    for name in ("v1", "aligned"):
        append(tmp_path / name, tmp_path / f"{name}-2", workdir=trained / "run", **new)
        before, after = load_export(tmp_path / name), load_export(tmp_path / f"{name}-2")
        np.testing.assert_array_equal(after.table.semantic_ids[:300], before.table.semantic_ids)
        np.testing.assert_array_equal(after.encode(vectors), after.table.codes[300:])
        curves = read_measured(tmp_path / f"{name}-2")["training"]
        assert curves == read_measured(tmp_path / name)["training"] and curves["eval"]["r2"]
        drift = after.manifest["drift"]
        assert drift["reference"]["r2"] == pytest.approx(before.manifest["metrics"]["r2"])
    config = small_run(tmp_path, np.load(trained / "items.npy"))
    config.train.num_epochs = 1
    train(config, tmp_path / "other", messages=Messages.silent())
    with pytest.raises(UserError, match=r"at step 5 .* is not the model of .*omit --workdir"):
        append(tmp_path / "v1", tmp_path / "v3", workdir=tmp_path / "other", step=5, **new)
    export_files(trained / "run", tmp_path / "sharded", [f"{trained}/items.npy"], messages=SILENT)
    append(tmp_path / "sharded", tmp_path / "sharded-2", **new)
    files = load_export(tmp_path / "sharded-2", verify=True)
    assert files.table.to_arrow().equals(load_export(tmp_path / "v1-2").table.to_arrow())
    reference = files.manifest["drift"]["reference"]
    assert reference["spread"] == pytest.approx(drift["reference"]["spread"], rel=1e-3)


def test_a_run_that_does_not_say_how_large_its_data_was(trained, tmp_path):
    content = json.loads((trained / "run" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({k: v for k, v in content.items() if k != "data_shape"}))
    with pytest.raises(UserError, match="does not state the number of training items"):
        export_files(tmp_path, tmp_path / "out", [f"{trained}/items.npy"], messages=SILENT)


# `export_files` divides the work of each stage into pieces. Here, each piece first creates a file, and then waits for
# half a second. The file's name has the process id, and a number that identifies the stage and the piece.
_RAY = """
import functools, os, sys, time, uuid, zlib
from collections import Counter
from pathlib import Path
from sid_jax.bulk.engine import RayEngine
from sid_jax.append.run import append
from sid_jax.bulk.engine import _do, _in_order
from sid_jax.bulk.run import export_files

workdir, out, source, began = sys.argv[1:]

def slow(began, stage, job, piece):
    work = zlib.crc32(repr((stage.__name__, piece)).encode())
    (Path(began) / f"{os.getpid()}-{work}-{uuid.uuid4()}").touch()
    time.sleep(0.5)
    return stage(job, piece)

class Slow(RayEngine):
    def map(self, stage, job, pieces, *, on_device):
        return super().map(functools.partial(slow, began, stage), job, pieces, on_device=on_device)

if __name__ == "__main__":
    export_files(Path(workdir), Path(out), [source], engine=Slow(2, cpus=0.5))
"""


def test_on_ray_with_a_worker_killed_the_table_is_the_same(trained, tmp_path):
    """There are six files and two workers; one worker is killed while it works."""
    vectors = np.load(trained / "items.npy")
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", vectors[50 * number : 50 * (number + 1)])
    export_files(trained / "run", tmp_path / "local", [f"{tmp_path}/*.npy"], messages=SILENT)
    began = tmp_path / "began"
    began.mkdir()
    words = [sys.executable, "-c", _RAY, str(trained / "run"), str(tmp_path / "ray"), f"{tmp_path}/*.npy", str(began)]
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while len(list(began.iterdir())) < 4 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        victim = int(max(began.iterdir(), key=lambda path: path.stat().st_mtime_ns).name.split("-")[0])
        os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    pieces = [path.name.split("-")[:2] for path in began.iterdir()]
    assert len({process_id for process_id, _ in pieces}) >= 3, pieces
    # Exactly one piece was started twice: first by the killed worker, and then by another worker.
    (twice,) = (work for work, count in Counter(work for _, work in pieces).items() if count > 1)
    assert {process_id for process_id, work in pieces if work == twice} > {str(victim)}
    files = sorted((tmp_path / "local" / "ids.parquet").iterdir())
    assert len(files) > 1
    for path in files:
        assert path.read_bytes() == (tmp_path / "ray" / "ids.parquet" / path.name).read_bytes()


def test_a_mistake_that_a_worker_finds_is_the_users_and_results_come_in_order():
    def refuse(job, piece):
        raise UserError(f"piece {piece} is wrong")

    def done(stage, number):
        batch = {"number": np.array([number]), "piece": np.array([pickle.dumps(10 * number)], object)}
        row = _do(stage, None, batch)
        return {"number": number, "result": row["result"][0]}

    right = [done(lambda job, piece: piece + 1, number) for number in (2, 0, 1)]
    assert list(_in_order(right)) == [1, 11, 21]
    with pytest.raises(UserError, match="piece 30 is wrong"):
        list(_in_order([*right, done(refuse, 3)]))
