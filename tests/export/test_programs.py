"""The encoder as an ONNX graph and as StableHLO: both give the codes of JAX, and an append writes both again."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from sid_jax import load
from sid_jax.append.run import append
from sid_jax.errors import UserError
from sid_jax.export import onnx_file
from sid_jax.export.encoder import encode_vectors
from sid_jax.export.manifest import read_manifest
from sid_jax.export.onnx_file import onnx_bytes
from sid_jax.export.stablehlo import PLATFORMS, load_encoder, stablehlo_bytes
from sid_jax.messages import Messages
from sid_jax.quantize.nearest import code_margins
from sid_jax.training.evaluate import NEAR_TIE
from tests.append import conftest as made
from tests.export.models import KINDS, made_model, made_vectors

SILENT = Messages.silent()
BOTH = ("onnx", "stablehlo")
FILES = {"encoder.onnx", "encoder.stablehlo"}


@pytest.fixture(scope="module")
def vectors():
    drawn = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    # The squares of the first two vectors are outside of float32's range. The third vector is 0 and has no direction.
    drawn[0], drawn[1], drawn[2] = 1e30 * drawn[0], 1e-30 * drawn[1], 0
    return drawn


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A tokenizer of 30 items, their vectors, and its export with both programs."""
    folder, vectors = tmp_path_factory.mktemp("programs"), made.made_vectors(range(30))
    tokenizer = load(made.make_export(folder / "plain", list(range(30)), vectors))
    return tokenizer, vectors, tokenizer.save(folder / "v1", onnx=True, stablehlo=True)


@pytest.fixture
def new(tmp_path):
    """A file with two new items."""
    return made.write_vectors(tmp_path / "new.parquet", [40, 41], made.made_vectors([40, 41]))


def codes_in_onnx(content, vectors):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["codes"], {"vectors": vectors})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_codes_of_jax_but_for_near_ties(kind, vectors):
    model, vectors = made_model(kind), made_vectors(kind, vectors if kind != "parts" else vectors[3:])
    content, codes = onnx_bytes(model), encode_vectors(model, vectors)
    apart = np.min(code_margins(model.encode(jnp.asarray(vectors)), model.quantizer.codebooks), axis=1) >= NEAR_TIE
    assert apart.mean() > 0.98
    found = codes_in_onnx(content, vectors)
    assert found.dtype == np.int32 and len(np.unique(codes, axis=0)) > 10
    np.testing.assert_array_equal(found[apart], codes[apart])
    for size in (0, 1, 7):
        np.testing.assert_array_equal(codes_in_onnx(content, vectors[3 : 3 + size]), found[3 : 3 + size])
    assert onnx_bytes(model) == content
    # The graph contains the scaling, but not the decoder.
    constants = {each.name for each in onnx.load_from_string(content).graph.initializer}
    assert not any("decoder" in name for name in constants) and "scaling.mean" in constants


@pytest.mark.parametrize("kind", ["residual", "parts"])
def test_stablehlo_gives_the_codes_of_jax(kind, vectors):
    model, vectors = made_model(kind), made_vectors(kind, vectors if kind != "parts" else vectors[3:])
    content, codes = stablehlo_bytes(model), encode_vectors(model, vectors)
    assert stablehlo_bytes(model) == content and not re.search(rb"\w\.py\b", content)
    exported = jax.export.deserialize(bytearray(content))
    assert exported.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    for size in (1, 7, 397):
        np.testing.assert_array_equal(exported.call(vectors[:size]), codes[:size])


def test_the_manifest_lists_them_and_they_give_the_codes_of_the_table(first):
    tokenizer, vectors, folder = first
    listed = read_manifest(folder, verify=True)["files"]
    assert set(listed) > FILES and all(set(listed[name]) == {"bytes", "sha256"} for name in FILES)
    codes = tokenizer.table.codes
    np.testing.assert_array_equal(load_encoder(folder)(vectors), codes)
    np.testing.assert_array_equal(jax.jit(lambda x: load_encoder(folder)(x)[:5])(vectors), codes[:5])
    np.testing.assert_array_equal(codes_in_onnx((folder / "encoder.onnx").read_bytes(), vectors), codes)


def test_the_next_version_has_them_too_and_a_retry_knows_it(first, new, tmp_path):
    folder = first[2]
    for programs in ((), (), BOTH):
        # The previous version has both programs, so an append writes both, even if `programs` is empty. All three
        # appends have the same result, so the second and the third one are retries of the first one.
        append(folder, tmp_path / "v2", [new], programs=programs, messages=SILENT)
    for name in FILES:
        assert (tmp_path / "v2" / name).read_bytes() == (folder / name).read_bytes()
    assert len(load(tmp_path / "v2", verify=True).table) == 32
    saved = load(folder).append([40, 41], made.made_vectors([40, 41])).save(tmp_path / "saved")
    assert set(read_manifest(saved, verify=True)["files"]) > FILES


def test_they_come_with_the_version_that_asks_for_them(first, new, tmp_path):
    plain = first[2].with_name("plain")
    for _ in range(2):
        append(plain, tmp_path / "v2", [new], programs=["onnx"], messages=SILENT)
    assert FILES & set(read_manifest(tmp_path / "v2")["files"]) == {"encoder.onnx"}
    with pytest.raises(UserError, match="other inputs or settings"):
        append(plain, tmp_path / "v2", [new], messages=SILENT)
    with pytest.raises(UserError, match="has no encoder.stablehlo; export again with --stablehlo"):
        load_encoder(tmp_path / "v2")


def test_a_damaged_program_is_refused(first, tmp_path):
    folder = first[0].save(tmp_path / "damaged", stablehlo=True)
    content = bytearray((folder / "encoder.stablehlo").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "encoder.stablehlo").write_bytes(content)
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_encoder(folder)
    with pytest.raises(UserError, match="SHA-256 differs"):
        load(folder, verify=True)


def test_without_the_package_nothing_is_begun(first, new, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    with pytest.raises(UserError, match=r"needs the package onnx; run pip install 'sid_jax\[onnx\]'$"):
        first[0].save(tmp_path / "out", onnx=True)
    with pytest.raises(UserError, match="the package onnx"):
        append(first[2], tmp_path / "out", [new], messages=SILENT)
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_onnx_file_holds_is_refused(monkeypatch):
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", 1000)
    with pytest.raises(
        UserError, match=r"^the model has [\d,]+ bytes, but an ONNX file can have at most 2 GiB; export without --onnx$"
    ):
        onnx_bytes(made_model("residual"))
