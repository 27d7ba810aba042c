"""Makes the files that docs pages read: small files under the names in the pages, and the README's runs and exports."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import ROOT
from tests.docs.exceptions import small, why_not_run
from tests.docs.pages import README, blocks_of
from tests.docs.typed import execute

NUM_ITEMS = 400
_LEFT = ("runs/items", "exports/items", "runs/ml100k", "exports/ml100k", "runs/recommend")
# This command reads only MovieLens, so its output is the same on each page. It is run for the README alone.
_RUN_ONCE = "sid-jax recommend --config=recommend:ml100k --workdir=runs/recommend"


def write_files(folder: Path) -> None:
    """Links the project's own files, and writes a user's files: vectors, texts, histories and IDs of 400 items.

    The items are in 20 groups. Another file has 20 new items, each near one of the 400 items.
    """
    for name in ("configs", "train.py", "export.py", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    random = np.random.default_rng(0)
    group = random.integers(0, 20, NUM_ITEMS)
    vectors = (random.normal(size=(20, 16))[group] + 0.3 * random.normal(size=(NUM_ITEMS, 16))).astype(np.float32)
    ids = np.arange(1, NUM_ITEMS + 1)
    table = pa.table({"item_id": ids, "vector": pa.array(list(vectors), pa.list_(pa.float32()))})
    genres = pa.array([[f"kind {each}"] for each in group])
    pq.write_table(table.append_column("genres", genres), folder / "items.parquet")
    # Not all items have an image.
    images = pa.array(list(vectors[:300, :8]), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": ids[:300], "vector": images}), folder / "image.parquet")
    (folder / "new").mkdir()
    pq.write_table(table.slice(0, 100), folder / "new" / "first.parquet")
    come = pa.array(list(vectors[:20] + 0.01), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": NUM_ITEMS + ids[:20], "vector": come}), folder / "monday.parquet")
    np.save(folder / "items.npy", vectors)
    (folder / "ids.txt").write_text("\n".join(map(str, ids)))
    (folder / "held_out.txt").write_text("\n".join(map(str, ids[::10])))
    texts = [
        {"item_id": int(item), "title": f"Item {item}", "brand": "Ours", "categories": [f"kind {of}"], "price": of / 2}
        for item, of in zip(ids, group, strict=True)
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, texts)))
    tokens = {str(row): [f"<a_{of}>", f"<b_{row}>"] for row, of in enumerate(group)}
    (folder / "letter.json").write_text(json.dumps(tokens))
    histories = [[user, *random.choice(ids, 6, replace=False)] for user in range(100)]
    (folder / "sequences.txt").write_text("\n".join(" ".join(map(str, each)) for each in histories))
    ratings = [f"{user},{item},{time}" for user, *items in histories for time, item in enumerate(items)]
    (folder / "ratings.csv").write_text("\n".join(["user,movie,rated_at", *ratings]))


def run_page(page: Path, folder: Path) -> None:
    """Runs a page's blocks in order in a folder: Python in one namespace, and commands except those in `NOT_RUN`."""
    names: dict[str, object] = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks_of(page):
            if block.language == "python":
                # Empty lines are added, so that the line numbers in tracebacks are those of the page.
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)  # noqa: S102
            for words in block.commands() if block.language == "bash" else ():
                run_once = page != README and " ".join(words) == _RUN_ONCE
                if not why_not_run(words) and not run_once:
                    execute(small(words))


@pytest.fixture(scope="session")
def readme(real_cache, tmp_path_factory) -> Path:
    """A folder in which the README's blocks were run."""
    folder = tmp_path_factory.mktemp("readme")
    write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SID_JAX_CACHE", str(real_cache))
        run_page(README, folder)
    return folder


@pytest.fixture
def place(readme, real_cache, tmp_path, monkeypatch):
    """A function that fills a page's folder.

    The folder gets small files, and those runs and exports of the README that the page does not make itself.
    """

    def make(page: Path) -> Path:
        monkeypatch.setenv("SID_JAX_CACHE", str(real_cache))
        write_files(tmp_path)
        text = page.read_text().replace(_RUN_ONCE, "")
        for name in _LEFT:
            made = re.search(rf"--out={name}\b", text) or re.search(rf"(train\.py|recommend).*--workdir={name}\b", text)
            if not made:
                shutil.copytree(readme / name, tmp_path / name)
        shutil.copy(tmp_path / "items.npy", tmp_path / "vectors.npy")
        return tmp_path

    return make
