from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.data.text.vector_cache import VectorCache


def vectors_of(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), hash(text) % 1000, 0.5] for text in texts], np.float32)


def add(cache: VectorCache, texts: list[str]) -> None:
    cache.add(texts, vectors_of(texts))


@given(
    groups=st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=6, unique=True), max_size=4),
    wanted=st.lists(st.text(max_size=4), min_size=1, max_size=8, unique=True),
)
@settings(max_examples=25)
def test_what_was_kept_is_found_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, groups, wanted):
    cache = VectorCache(tmp_path_factory.mktemp("cache"), "encoder 1")
    for texts in groups:
        add(cache, texts)
    kept = {text for texts in groups for text in texts}
    known, vectors = cache.find(wanted)
    assert known.tolist() == [text in kept for text in wanted]
    if vectors is None:
        assert not known.any()
    else:
        np.testing.assert_array_equal(vectors[known], vectors_of(wanted)[known])


def test_another_encoder_has_vectors_of_its_own(tmp_path: Path):
    add(VectorCache(tmp_path, "encoder 1"), ["a"])
    known, vectors = VectorCache(tmp_path, "encoder 2").find(["a"])
    assert not known.any()
    assert vectors is None


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: data[:8] + data[9:]])
def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage):
    cache = VectorCache(tmp_path, "encoder")
    add(cache, ["a", "b"])
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(damage(path.read_bytes()))
    add(cache, ["c"])
    assert cache.find(["a", "b", "c"])[0].tolist() == [False, False, True]


def test_a_flipped_bit_in_a_vector_is_noticed(tmp_path: Path):
    cache = VectorCache(tmp_path, "encoder")
    add(cache, ["a", "b"])
    (path,) = tmp_path.rglob("*.parquet")
    data = bytearray(path.read_bytes())
    place = data.index(np.float32(0.5).tobytes())
    data[place + 2] ^= 1
    path.write_bytes(bytes(data))
    assert not cache.find(["a", "b"])[0].any()


def test_what_another_writer_has_begun_is_not_read(tmp_path: Path):
    cache = VectorCache(tmp_path, "encoder")
    add(cache, ["a"])
    (path,) = tmp_path.rglob("*.parquet")
    path.rename(path.with_name(f".{path.name}.host.1"))
    assert not cache.find(["a"])[0].any()


def test_the_longest_unused_go_first(tmp_path: Path):
    size = 0
    for text in ("old", "used", "new"):
        cache = VectorCache(tmp_path, "encoder")
        before = set(tmp_path.rglob("*.parquet"))
        add(cache, [text])
        (path,) = set(tmp_path.rglob("*.parquet")) - before
        size = path.stat().st_size
        os.utime(path, (1000, 1000 + len(before)))
    assert cache.find(["used"])[0].all()
    bounded = VectorCache(tmp_path, "encoder", max_bytes=3 * size)
    add(bounded, ["newest"])
    assert bounded.find(["old", "used", "new", "newest"])[0].tolist() == [False, True, True, True]
    add(VectorCache(tmp_path, "encoder", max_files=1), ["last"])
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_what_a_killed_writer_left_goes_after_a_day(tmp_path: Path):
    cache = VectorCache(tmp_path, "encoder")
    add(cache, ["a"])
    (path,) = tmp_path.rglob("*.parquet")
    for name, time in ((".old.parquet.host.1", 1000), (".now.parquet.host.1", None)):
        path.with_name(name).write_text("")
        if time:
            os.utime(path.with_name(name), (time, time))
    add(cache, ["b"])
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == [".now.parquet.host.1"]
