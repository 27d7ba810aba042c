from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from sid_jax.data.text import encode
from sid_jax.data.text.encode import VectorCache, encode_texts
from sid_jax.errors import UserError


def by_length(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), 1.0] for text in texts])


def test_wordllama_needs_no_download_and_puts_like_texts_near():
    vectors = encode_texts(["a cat sat on a mat", "the kitten is on the rug", "quarterly tax returns"])
    assert vectors.shape == (3, 256)
    assert vectors.dtype == np.float32
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


def test_vectors_are_not_normalized_and_do_not_depend_on_their_neighbors():
    alone = encode_texts(["Star Wars"])
    among = encode_texts(["A much longer text that pads the others in its batch " * 100, "Star Wars"])
    assert abs(np.linalg.norm(alone) - 1) > 0.1
    np.testing.assert_array_equal(alone[0], among[1])


def test_texts_of_all_kinds():
    odd = ["", " ", "\x00", "a\x00b", "😀🎬", "日本語", "é", "\ud83d", "x\udc00y", "word " * 200_000]
    vectors = encode_texts(odd)
    assert vectors.shape == (len(odd), 256)
    assert np.isfinite(vectors).all()
    assert not vectors[0].any()  # The vector of an empty text is zero.
    np.testing.assert_array_equal(vectors[7:9], encode_texts(["�", "x�y"]))
    np.testing.assert_array_equal(encode_texts(["\ud83d\ude00"]), encode_texts(["😀"]))
    long = vectors[-1] / np.linalg.norm(vectors[-1])
    assert long @ encode_texts(["word word"])[0] > 0.5 * np.linalg.norm(encode_texts(["word word"])[0])


def test_no_texts_are_refused():
    with pytest.raises(UserError, match="no texts"):
        encode_texts([])


def test_each_text_is_encoded_once_in_batches(monkeypatch):
    monkeypatch.setattr(encode, "_BATCH", 2)
    calls: list[list[str]] = []

    def counting(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        return by_length(texts)

    vectors = encode_texts(["ab", "a", "ab", "abc"], counting)
    assert calls == [["ab", "a"], ["abc"]]
    assert vectors[:, 0].tolist() == [2, 1, 2, 3]
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([[1.0, 2.0]], r"returned shape \[1, 2\] for 2 texts"),
        ([1.0, 2.0], r"returned shape \[2\]"),
        ([["a"], ["b"]], "returned <U1; it must return an array"),
        ([[], []], r"returned shape \[2, 0\]"),
        ([[1.0], [1.0, 2.0]], "returned a value that is not an array"),
        ([[1.0], [np.nan]], "NaN or infinite values for 1 of 2 texts \\(the first one is 'second'\\)"),
        ([[1.0], [1e300]], "NaN or infinite values for 1 of 2 texts"),
        ({"a": 1}, "returned object"),
    ],
)
def test_what_a_function_must_not_return(result: object, message: str):
    with pytest.raises(UserError, match=message) as refusal:
        encode_texts(["first", "second"], lambda texts: result)
    assert "\n" not in str(refusal.value)


def test_a_function_that_changes_its_mind_on_the_number_of_features(monkeypatch):
    monkeypatch.setattr(encode, "_BATCH", 1)
    with pytest.raises(UserError, match="returned 2 features for some texts and 1 for others"):
        encode_texts(["a", "ab"], lambda texts: np.zeros((1, len(texts[0]))))


def test_a_function_that_raises_is_one_line():
    with pytest.raises(UserError, match=r"failed on 1 texts \(ZeroDivisionError: division by zero\)"):
        encode_texts(["a"], lambda texts: 1 / 0)


def fake_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    class SentenceTransformer:
        def __init__(self, name: str):
            if name != "some/model":
                raise OSError(f"{name} is not a model\nthat is known")

        def encode(self, texts, convert_to_numpy, show_progress_bar):
            assert convert_to_numpy
            assert not show_progress_bar
            return np.array([[len(text), 1.5] for text in texts], dtype=np.float64)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def test_any_other_name_is_a_sentence_transformers_model(monkeypatch):
    fake_sentence_transformers(monkeypatch)
    vectors = encode_texts(["ab", "abc"], "some/model")
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 1.5], [3, 1.5]]


def test_an_unknown_model_is_one_line(monkeypatch):
    fake_sentence_transformers(monkeypatch)
    with pytest.raises(UserError, match="data.text_encoder=no/model: .*no/model is not a model that is known"):
        encode_texts(["ab"], "no/model")


def test_without_sentence_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'sid_jax\[text\]'"):
        encode_texts(["ab"], "some/model")


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> Path:
    """A module in the current folder, which counts the texts that it encodes."""
    path = tmp_path / "my_encoder.py"
    path.write_text(
        "count = 0\n"
        "def encode(texts):\n"
        "    global count\n"
        "    count += len(texts)\n"
        "    return [[float(len(text)), 2.0] for text in texts]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield path
    sys.modules.pop("my_encoder", None)


def test_a_function_by_its_import_path_is_asked_for_new_texts_alone(module: Path, tmp_path: Path):
    cache = str(tmp_path / "cache")
    first = encode_texts(["a", "ab"], "my_encoder:encode", cache_dir=cache)
    second = encode_texts(["abc", "ab", "a"], "my_encoder:encode", cache_dir=cache)
    assert first.tolist() == [[1, 2], [2, 2]]
    assert second.tolist() == [[3, 2], [2, 2], [1, 2]]
    assert sys.modules["my_encoder"].count == 3
    # After a change of the source code, cached vectors are not used. The replacement also changes the length of the
    # file. Python's cache of compiled modules compares only the length and the modification time in whole seconds, so
    # it could miss a change that keeps the length.
    module.write_text(module.read_text().replace("2.0", "5.00"))
    del sys.modules["my_encoder"]
    assert encode_texts(["ab"], "my_encoder:encode", cache_dir=cache).tolist() == [[2, 5]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:encode", "cannot be imported .ModuleNotFoundError: No module named 'no_such_module'"),
        ("my_encoder:other", "cannot be imported .AttributeError"),
        ("my_encoder:__doc__", "is of type NoneType; it must be a function"),
    ],
)
def test_a_function_that_is_not_there(module: Path, name: str, message: str):
    with pytest.raises(UserError, match=message):
        encode_texts(["a"], name)


def test_what_has_no_version_is_not_kept(tmp_path: Path):
    factor = 2.0
    encode_texts(["a"], lambda texts: np.array([[factor]]), cache_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())

    def versioned(texts: list[str]) -> np.ndarray:
        return np.array([[factor]])

    versioned.version = "1"  # type: ignore[attr-defined]
    encode_texts(["a"], versioned, cache_dir=str(tmp_path))
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_folder_that_cannot_be_written_is_said_once_and_the_vectors_are_there(tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr(encode, "_KEPT_TOGETHER", 1)
    (tmp_path / "text").write_text("")
    vectors = encode_texts(["a", "ab"], "wordllama", cache_dir=str(tmp_path))
    assert vectors.shape == (2, 256)
    assert caplog.text.count("text vectors cannot be cached") == 1


def test_a_killed_encoder_goes_on_where_it_was(module: Path, tmp_path: Path):
    program = f"""
import os, signal
from sid_jax.data.text import encode
encode._BATCH = encode._KEPT_TOGETHER = 2
import my_encoder
real = my_encoder.encode
def killed(texts):
    if texts == ["c", "d"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(texts)
found = encode.find_encoder("my_encoder:encode")
encode.find_encoder = lambda name: encode.Encoder(name, found.identity, lambda: killed)
encode.encode_texts(["a", "b", "c", "d"], "my_encoder:encode", cache_dir={str(tmp_path / "cache")!r})
"""
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    encode_texts(["a", "b", "c", "d"], "my_encoder:encode", cache_dir=str(tmp_path / "cache"))
    assert sys.modules["my_encoder"].count == 2


def test_several_at_once_disturb_nobody(module: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(encode, "_KEPT_TOGETHER", 4)
    texts = ["x" * length for length in range(40)]

    def one(_: int) -> list:
        return encode_texts(texts, "my_encoder:encode", cache_dir=str(tmp_path / "cache")).tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [[[float(length), 2.0] for length in range(40)]] * 4


def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(monkeypatch):
    for is_terminal in (True, False):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=is_terminal, width=80)
        monkeypatch.setattr(encode, "Console", lambda stderr, console=console: console)
        encode_texts(["a", "ab"], by_length)
        assert ("encoding texts" in shown.getvalue()) == is_terminal
        assert is_terminal or not shown.getvalue()


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
    bounded = VectorCache(tmp_path, "encoder", max_bytes=3 * size + size // 2)
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
