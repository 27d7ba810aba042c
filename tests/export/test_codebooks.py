from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from sid_jax.errors import UserError
from sid_jax.export.codebooks import read_codebooks, write_codebooks

D, HIDDEN, Z = 6, 5, 3
INFO = {"unit_norm": True, "activation": "silu", "num_levels": 2, "codebook_size": [4, 4], "scheme": None}


class ResidualQuantizedAutoencoder(torch.nn.Module):
    """A PyTorch model whose parameters have the names in the exported state dict."""

    def __init__(self, sizes):
        super().__init__()
        self.encoder = torch.nn.Module()
        self.encoder.network = torch.nn.Sequential(
            torch.nn.Linear(D, HIDDEN), torch.nn.SiLU(), torch.nn.Linear(HIDDEN, Z)
        )
        self.decoder = torch.nn.Module()
        self.decoder.network = torch.nn.Sequential(
            torch.nn.Linear(Z, HIDDEN), torch.nn.SiLU(), torch.nn.Linear(HIDDEN, D)
        )
        self.quantization_layers = torch.nn.ModuleList()
        for size in sizes:
            layer = torch.nn.Module()
            layer.embedding = torch.nn.Embedding(size, Z)
            self.quantization_layers.append(layer)


def make_weights(sizes=(4, 4)):
    return {name: weight.numpy() for name, weight in ResidualQuantizedAutoencoder(sizes).state_dict().items()}


def make_scaling():
    return {"mean": np.arange(D, dtype=np.float32), "scale": np.full(D, 0.5, np.float32)}


def write(folder, weights):
    write_codebooks(folder, weights, make_scaling(), INFO)


def load_pt(folder):
    return torch.load(folder / "codebooks.pt", weights_only=True)


def codebook(weights, level):
    return weights[f"quantization_layers.{level}.embedding.weight"]


@pytest.mark.parametrize("sizes", [(4, 4), (4, 2, 8), (4,)])
def test_round_trip_through_safetensors(tmp_path, sizes):
    weights = make_weights(sizes)
    write(tmp_path, weights)
    codebooks, rest, scaling, info = read_codebooks(tmp_path)
    assert [array.shape for array in codebooks] == [(size, Z) for size in sizes]
    for level, array in enumerate(codebooks):
        assert np.array_equal(array, codebook(weights, level))
    assert set(rest) == {name for name in weights if name.startswith(("encoder.", "decoder."))}
    assert all(np.array_equal(rest[name], weights[name]) for name in rest)
    assert all(np.array_equal(scaling[name], array) for name, array in make_scaling().items())
    assert info == INFO


def test_plain_keys_in_both_files(tmp_path):
    weights = make_weights()
    write(tmp_path, weights)
    stacked = np.stack([codebook(weights, 0), codebook(weights, 1)])
    dump = load_pt(tmp_path)
    assert np.array_equal(dump["codebooks"].numpy(), stacked)
    assert dump["scaling"]["scale"].tolist() == [0.5] * D
    assert dump["info"] == INFO
    with safe_open(tmp_path / "codebooks.safetensors", framework="pt") as file:
        assert np.array_equal(file.get_tensor("codebooks").numpy(), stacked)
        assert not any(name.startswith("quantization_layers") for name in file.keys())  # noqa: SIM118


def test_levels_of_different_sizes_are_a_list(tmp_path):
    weights = make_weights((4, 2))
    write(tmp_path, weights)
    assert [array.tolist() for array in load_pt(tmp_path)["codebooks"]] == [
        codebook(weights, 0).tolist(),
        codebook(weights, 1).tolist(),
    ]


def test_the_state_dict_drops_into_the_model(tmp_path):
    weights = make_weights()
    write(tmp_path, weights)
    model = ResidualQuantizedAutoencoder((4, 4))
    model.load_state_dict(load_pt(tmp_path)["state_dict"])
    assert all(np.array_equal(value.numpy(), weights[name]) for name, value in model.state_dict().items())


def test_arrays_that_are_not_contiguous_are_not_scrambled(tmp_path):
    weights = make_weights()
    # The transpose of a kernel [in, out] has Fortran order.
    views = {name: np.asfortranarray(array) for name, array in weights.items()}
    views["encoder.network.0.bias"] = np.repeat(weights["encoder.network.0.bias"], 2)[::2]
    write(tmp_path, views)
    _, rest, _, _ = read_codebooks(tmp_path)
    state = load_pt(tmp_path)["state_dict"]
    for name, array in weights.items():
        assert np.array_equal(state[name].numpy(), array)
        assert name not in rest or np.array_equal(rest[name], array)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    weights = make_weights()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, weights)
    for file in ("codebooks.safetensors", "codebooks.pt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def refusal(folder):
    with pytest.raises(UserError) as caught:
        read_codebooks(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    assert "codebooks.safetensors is missing" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path, kept):
    write(tmp_path, make_weights())
    path = tmp_path / "codebooks.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "is corrupt" in refusal(tmp_path)


def test_a_safetensors_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "codebooks.safetensors"
    save_file({"x": np.zeros(2, np.float32)}, path)
    assert "is corrupt" in refusal(tmp_path)
    save_file({"x": np.zeros(2, np.float32)}, path, metadata={"info": "{}"})
    assert "'scaling.mean'" in refusal(tmp_path)
    save_file({"scaling.mean": np.zeros(2), "scaling.scale": np.zeros(2)}, path, metadata={"info": "{}"})
    assert "'codebooks.0'" in refusal(tmp_path)
