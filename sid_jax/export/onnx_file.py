"""Writes the encoder as an ONNX graph: scaling, network and all levels, from vectors `[n, D]` to codes `[n, L]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sid_jax.errors import UserError
from sid_jax.export.weights import scaling_of, torch_weights
from sid_jax.models.rqvae import RQVAE

# ONNX Runtime 1.14 and later can read these versions.
OPSET, IR_VERSION = 18, 8
# The maximum size of a Protocol Buffers message, 2 GiB, minus a margin of 1 MiB.
_MOST_BYTES = 2**31 - 2**20


def onnx_bytes(model: RQVAE) -> bytes:
    """Returns the content of `encoder.onnx`. Equal models give equal bytes.

    The graph has one input, unscaled `vectors` `[n, D]` float32 for any n, and one output, `codes` `[n, L]` int32.
    For vectors with parts, NaN marks a part that an item lacks. Values are not checked: NaN at any other
    place gives arbitrary codes.

    Raises:
      UserError: if the model is too large for an ONNX file, which can have at most 2 GiB.
    """
    graph = _Graph()
    weights = {name: graph.constant(name, array) for name, array in torch_weights(model).items()}
    scaling = {name: graph.constant(f"scaling.{name}", array) for name, array in scaling_of(model).items()}
    scaled = graph.node("Div", graph.node("Sub", _normalized(graph, model), scaling["mean"]), scaling["scale"])
    if "filler" in scaling:
        missing = graph.node("IsNaN", scaled)
        known = graph.node("Where", missing, graph.constant("zero", 0.0), scaled)
        scaled = graph.node("Where", missing, graph.node("MatMul", known, scaling["filler"]), scaled)
    latents = _network(graph, model, weights, scaled)
    codes = _codes(graph, latents, [np.asarray(codebook) for codebook in model.quantizer.codebooks])
    graph.node("Cast", codes, output="codes", to=TensorProto.INT32)
    made = graph.model(model.mean.shape[0], len(model.quantizer.levels))
    if made.ByteSize() > _MOST_BYTES:
        raise UserError(
            f"the model has {made.ByteSize():,} bytes, but an ONNX file can have at most 2 GiB; export without --onnx"
        )
    return made.SerializeToString(deterministic=True)


class _Graph:
    """Builds an ONNX graph node by node. Each node has one output, whose name is the node's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(value, dtype, order="C"), name)
        return name

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def model(self, num_features: int, num_levels: int) -> onnx.ModelProto:
        vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", num_features])
        codes = helper.make_tensor_value_info("codes", TensorProto.INT32, ["n", num_levels])
        read = {name for node in self.nodes for name in node.input}
        constants = [value for name, value in self.constants.items() if name in read]
        graph = helper.make_graph(self.nodes, "encoder", [vectors], [codes], constants)
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="sid_jax"
        )
        onnx.checker.check_model(made, full_check=True)
        return made


def _normalized(graph: _Graph, model: RQVAE) -> str:
    """Adds nodes that do what `sid_jax.data.scaling.normalize` does, and returns the name of the normalized vectors."""
    if model.layout is None:
        return _unit(graph, "vectors") if model.unit_norm else "vectors"
    parts, ends = model.layout.parts, [each.stop for each in model.layout.slices]
    first, blocks = graph.constant("part_0", [0], np.int64), []
    for number, (part, end) in enumerate(zip(parts, ends, strict=True), 1):
        after = graph.constant(f"part_{number}", [end], np.int64)
        block = graph.node("Slice", "vectors", first, after, graph.constant("features", [1], np.int64))
        first = after
        blocks.append(_unit(graph, block) if part.unit_norm else block)
    return graph.node("Concat", *blocks, axis=1)


def _unit(graph: _Graph, vectors: str) -> str:
    axis, zero, one = graph.constant("features", [1], np.int64), graph.constant("zero", 0.0), graph.constant("one", 1.0)
    # Vectors are first divided by their largest absolute entry, since squares of very large or small numbers leave the
    # range of float32.
    largest = graph.node("ReduceMax", graph.node("Abs", vectors), axis, keepdims=1)
    shrunk = graph.node("Div", vectors, graph.node("Where", graph.node("Greater", largest, zero), largest, one))
    square = graph.node("ReduceSum", graph.node("Mul", shrunk, shrunk), axis, keepdims=1)
    length = graph.node("Sqrt", graph.node("Where", graph.node("Greater", square, zero), square, one))
    return graph.node("Div", shrunk, length)


def _network(graph: _Graph, model: RQVAE, weights: dict[str, str], inputs: str) -> str:
    """Adds the nodes of the encoder, and returns the name of the latent vectors."""
    hidden = inputs
    for number in range(len(model.encoder.layers)):
        hidden = _ACTIVATIONS[model.encoder.activation](graph, hidden) if number else hidden
        layer = f"encoder.network.{2 * number}"
        hidden = graph.node("Gemm", hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"], transB=1)
    if model.encoder.shortcut is None:
        return hidden
    return graph.node("Gemm", inputs, weights["encoder.shortcut.weight"], hidden, transB=1)


def _codes(graph: _Graph, latents: str, codebooks: Sequence[np.ndarray]) -> str:
    """Adds the nodes of `sid_jax.quantize.nearest.assign_codes`, and returns the name of the codes `[n, L]` int64."""
    left_over, codes = latents, []
    for level, codebook in enumerate(codebooks):
        name = graph.constant(f"quantization_layers.{level}.embedding.weight", codebook)
        norms = graph.constant(f"quantization_layers.{level}.minus_norms", -np.square(codebook).sum(axis=1))
        scores = graph.node("Gemm", left_over, name, norms, alpha=2.0, transB=1)
        code = graph.node("ArgMax", scores, axis=1, keepdims=0)
        codes.append(graph.node("Unsqueeze", code, graph.constant("features", [1], np.int64)))
        if level < len(codebooks) - 1:
            left_over = graph.node("Sub", left_over, graph.node("Gather", name, code, axis=0))
    return graph.node("Concat", *codes, axis=1)


def _silu(graph: _Graph, values: str) -> str:
    return graph.node("Mul", values, graph.node("Sigmoid", values))


def _relu(graph: _Graph, values: str) -> str:
    return graph.node("Relu", values)


def _gelu(graph: _Graph, values: str) -> str:
    erf = graph.node("Erf", graph.node("Mul", values, graph.constant("sqrt_half", 0.5**0.5)))
    above = graph.node("Add", erf, graph.constant("one", 1.0))
    return graph.node("Mul", graph.node("Mul", values, above), graph.constant("half", 0.5))


_ACTIVATIONS = {"silu": _silu, "relu": _relu, "gelu": _gelu}
