"""Every jitted function is lowered for TPU and CUDA, which detects unsupported operations without a device.

The lowered functions are neither compiled nor run. If possible, they get shapes instead of arrays.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import sparse

import sid_jax
from sid_jax.bulk import encode as bulk
from sid_jax.config import default_config
from sid_jax.data.layout import ItemPart, Layout
from sid_jax.data.relations import Partners, Relations
from sid_jax.data.scaling import Scaling
from sid_jax.data.text import bert
from sid_jax.export import encoder
from sid_jax.ids import alternatives
from sid_jax.ids.table import IdTable
from sid_jax.joint_quantizer import quantizer as joint_quantizer
from sid_jax.joint_quantizer.trained import parts
from sid_jax.metrics import vectors as metrics
from sid_jax.presets import set_mlp
from sid_jax.quantize import beam, kmeans, product
from sid_jax.quantize.residual import QUANTIZATION_METHODS
from sid_jax.recommend import config as recommender_config
from sid_jax.recommend import ranker
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.cold import rankers as cold
from sid_jax.recommend.cold.scores import BackOff
from sid_jax.recommend.data.blend import Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.packing import PackedRows, PrefixExamples
from sid_jax.recommend.joint import loop as joint_loop
from sid_jax.recommend.joint.code_table import build_code_table
from sid_jax.recommend.joint.step import JointRecipe, JointState, joint_steps
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import catalog_of
from sid_jax.recommend.training import blend as blend_fit
from sid_jax.recommend.training import step as recommender_step
from sid_jax.training import corpus, evaluate, level_choice, precision_choice, processes, state, step
from sid_jax.training.recipe import Recipe, init_optimizer
from sid_jax.training.schedules import Durations
from sid_jax.training.sharding import abstract_on_every_device, all_devices

PLATFORMS = ("tpu", "cuda")
# JAX caches traces by shape. Other tests do not use these sizes, so that no trace for another backend is reused.
N, D, SIZES = 56, 13, (6, 5)
LAYOUT = Layout((ItemPart("text", 9), ItemPart("price", 4, 2.0, False)))
# Variants of the quantizer and of its training: for each name, the settings that are changed.
TRAINED = {
    **{method: {"model.quantization_method": method} for method in QUANTIZATION_METHODS},
    "soft": {"model.quantization_method": "gumbel_softmax", "model.gumbel_hard": False},
    "bfloat16": {"train.precision": "bfloat16", "model.dropout": 0.1},
    "histories": {"model.contrastive_weight": 0.1, "model.alignment_weight": 0.1},
    "parts": {"train.part_dropout": 0.3},
    "opq": {"model.quantizer": "opq"},
}
RECOMMENDERS = ("decoder", "encoder_decoder", "parallel", "scorer", "sampled")


@pytest.fixture(autouse=True)
def on_a_tpu(monkeypatch):
    """Makes JAX report a TPU as the backend. There are eight devices, as on a TPU host."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")


def lower(function, *args, **kwargs):
    """Lowers a call of a jitted function for both platforms."""
    function.trace(*args, **kwargs).lower(lowering_platforms=PLATFORMS)


def test_an_operation_that_a_platform_lacks_is_found():
    with pytest.raises(NotImplementedError, match="eig.*tpu"):
        lower(jax.jit(jnp.linalg.eigvals), array(3, 3))


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def codes(*shape):
    return array(*shape, dtype=jnp.int32)


def changed(config, flags):
    for name, value in flags.items():
        section, _, field = name.rpartition(".")
        config[section][field] = value
    return config


def quantizer(flags=(), layout=None):
    """Returns config, model, recipe, state and mesh of a small RQ-VAE; model and state have shapes, not arrays."""
    config = default_config()
    set_mlp(config)
    config.model.update({"codebook_size": SIZES, "num_levels": 2, "latent_dimension": 7, "hidden_dimensions": (11,)})
    config.train.update({"batch_size": 8, "num_epochs": 4, "revive_every_epochs": 1.0})
    config.data.collaborative_dimension = 3
    changed(config, dict(flags))
    model = state.abstract_model(config, D, layout)
    recipe = Recipe.of(config, Durations.of(config.train, N), model)
    mesh = all_devices()
    return config, model, recipe, state.abstract_state(config, recipe.optimizer, D, mesh, layout), mesh


@pytest.fixture(scope="module")
def model():
    return quantizer()[1]


@pytest.mark.parametrize("kind", TRAINED)
def test_training_of_the_quantizer(kind):
    layout = LAYOUT if kind == "parts" else None
    _, _, recipe, begun, mesh = quantizer(TRAINED[kind], layout)
    relations = None
    if kind == "histories":
        pairs = Partners.of(sparse.csr_array(np.eye(N)[np.arange(N) ^ 1]))
        relations = Relations(pairs, np.ones((N, 3), np.float32))
        lower(corpus._draw_for_steps, 0, pairs, codes(2, 8), codes(2))
    lower(step.train_steps, recipe, begun, array(N, D), relations, codes(N), num_steps=2, mesh=mesh)
    lower(init_optimizer, recipe, begun.params)
    if kind in ("ste", "parts"):
        lower(step.train_on_batches, recipe, begun, array(2, 8, D), mesh=mesh)
        lower(evaluate._measure, recipe, begun, array(16, D), mesh=mesh)
        lower(evaluate._assign, recipe, begun, array(16, D), mesh=mesh)
        lower(evaluate._errors, recipe, begun, array(16, D), codes(16, 2), mesh=mesh)


def test_the_start_of_a_training():
    config = quantizer()[0]
    lower(state._draw_parameters, tuple(state.model_shape(config, D).items()), jax.random.key(0))
    lower(state._encode, quantizer()[1], array(N, D))
    lower(state._inputs, quantizer((), LAYOUT)[1], array(N, D))
    lower(state._apply_scaling, Scaling(True, array(D), array(D)), array(N, D))
    lower(level_choice._project, Scaling(True, array(D), array(D)), array(N, D), array(D, 4))
    lower(level_choice._quantize, array(N, 4), array(6, 4))
    for mixed in (True, False):
        lower(precision_choice._products, [(array(8, D), array(D, 3))], mixed=mixed)
    lower(corpus._epoch_order, 0, codes(), N, 64)
    lower(processes._any, array(8, dtype=bool), mesh=all_devices())
    lower(kmeans.kmeans_plus_plus, jax.random.key(0), array(N, D), num_clusters=6)
    lower(kmeans.lloyd, array(N, D), array(6, D), num_iterations=3)
    lower(kmeans.cluster_means, array(N, D), codes(N), num_clusters=6)
    lower(kmeans._covariance, array(N, D))
    lower(kmeans._coordinates, array(N, D), array(D, 3), numbers=(2, 3))
    lower(kmeans._with_more_axes, array(N, 2), array(N, D), array(6, 2), num_iterations=2)
    lower(kmeans._residuals, array(N, D), array(6, D))
    lower(product._move, array(N, D), array(6, D))
    lower(product._rotated, array(N, D), array(D, D))
    lower(product._inner, array(N, D), array(N, D))


def test_codes_of_vectors_and_vectors_of_codes(model):
    for each in (model, quantizer((), LAYOUT)[1]):
        graphdef, arrays = nnx.split(each)
        leaves, structure = jax.tree.flatten(arrays)
        architecture = encoder._Architecture(graphdef, structure)
        lower(encoder._encode, architecture, tuple(leaves), array(16, D))
        lower(encoder._decode, architecture, tuple(leaves), codes(16, 2))
    leaves, structure = jax.tree.flatten(model)
    lower(bulk._encode, structure, leaves, array(16, D), "uint8", 3, 0, N)
    size, latent = SIZES[-1], 7
    codebooks = tuple(array(each, latent) for each in SIZES)
    lower(alternatives._encode, model, array(16, D))
    lower(alternatives._nearest_prefixes, codebooks, array(16, latent), codes(16, 2), codes(16), width=4)
    near = codes(300, 4, 1), array(300, 4), array(300, 4, size, dtype=bool)
    lower(alternatives._nearest_free, codebooks, array(300, latent), *near, count=3)
    lower(alternatives._errors, model, array(16, D), codes(16, 4, 2))
    lower(alternatives._compare_first_codes, codebooks, array(16, latent))
    lower(beam.beam_codes, array(300, D), [array(6, D), array(5, D)], width=12)
    lower(beam.completed_codes, array(300, D), [array(6, D), array(size, D)], *near, count=9)
    lower(metrics._compare, model, array(16, D), codes(16, 2))
    lower(metrics._fidelity, model, array(16, D), codes(16, 2), array(16, dtype=bool))
    lower(metrics._nearest, array(N, D), codes(16), count=5)


def test_the_text_encoder():
    linear = {name: (array(8, size), array(size)) for name, size in (("attend", 24), ("out", 8), ("up", 16))}
    norm = array(8), array(8)
    layer = {**linear, "down": (array(16, 8), array(8)), "out_norm": norm, "down_norm": norm}
    lower(bert._normed, array(2, 5, 8), norm, 1e-5)
    lower(bert._layer, layer, array(2, 5, 8), codes(2), 2, 1e-5)
    lower(bert._pooled, array(2, 5, 8), codes(2), "mean", True)


def recommender(kind):
    """Returns config, model, candidates and examples of a recommender; model and examples have shapes, not arrays."""
    drawn = np.random.default_rng(0)
    ids = np.stack(np.unravel_index(np.arange(N) % 30, SIZES), axis=1).astype(np.int32)
    content = drawn.normal(size=(N, 9)).astype(np.float32)
    blend = Blend(
        np.ones(4, np.float32), np.zeros((N, 3), np.int32), np.ones((N, 3), np.float32), np.eye(9)[:, :5], True
    )
    candidates = Candidates.of(IdTable(np.arange(N), ids, shared=True), np.ones(N, int), np.arange(N) > 50, SIZES)
    config = changed(
        recommender_config.default_config(),
        {
            **dict.fromkeys(("model.features", "model.hidden", "model.code_hidden"), 16),
            "model.kind": "scorer" if kind == "sampled" else kind,
            "model.num_layers": 1,
            "model.num_heads": 2,
            "model.window": 6,
            "train.row_length": 10,
            "train.batch_size": 8,
            "train.average_epochs": 1.0,
            "train.loss": "sampled" if kind == "sampled" else "full",
            "train.num_negatives": 7,
        },
    )
    if config.model.kind in ("scorer", "parallel"):
        candidates = dataclasses.replace(candidates, content=content, blend=blend)
    place = (24, 10)
    examples = PackedRows(codes(*place), codes(*place), codes(*place), array(*place))
    if kind == "encoder_decoder":
        examples = PrefixExamples(codes(24, 6), codes(24), codes(24), codes(24))
    built = nnx.eval_shape(lambda: build_model(config, candidates))
    return config, built, candidates, examples


@pytest.mark.parametrize("kind", RECOMMENDERS)
def test_a_recommender(kind, monkeypatch):
    config, model, candidates, examples = recommender(kind)
    mesh, catalog = all_devices(), catalog_of(candidates, candidates.known)
    recipe = recommender_step.Recipe.of(config, 24, model)
    shapes = jax.eval_shape(lambda: recommender_step.make_state(model, recipe.init_optimizer, averaged=True))
    begun, catalog = (abstract_on_every_device(each, mesh) for each in (shapes, catalog))
    lower(recommender_step.train_steps, recipe, begun, examples, catalog, num_steps=2, mesh=mesh)
    graphdef, params = nnx.split(model)
    asked, rows = HistoryBatch(codes(8, 6), codes(8), codes(8)), (graphdef, params)
    vectors = jax.eval_shape(lambda params: ranker._item_vectors(graphdef, params, catalog), params)
    if kind == "sampled":
        # With this limit, the catalog is too large to be scored in one block.
        monkeypatch.setattr(ranker, "_ITEMS_AT_ONCE", 16)
        lower(ranker._find, *rows, asked, catalog, vectors, num_beams=4)
        return
    lower(ranker._item_vectors, *rows, catalog)
    lower(ranker._find, *rows, asked, catalog, vectors, num_beams=10)
    content, back_off = array(N, 9), BackOff(1.0, 0.5, 0.9, 1.0, prefix_levels=1)
    lower(
        cold._find_cold, *rows, asked, catalog, vectors, candidates.cold_trie, content, back_off, num_beams=10, count=4
    )
    if vectors is None:
        lower(ranker._rank_all, *rows, asked, catalog)
    else:
        lower(blend_fit._moments, *rows, catalog, vectors, array(4), asked, codes(8), codes(8, 3), array(8))
    if kind == "scorer":
        lower(ranker._explain, *rows, asked, catalog, vectors, codes())
        lower(ranker.make_shortlist, catalog, vectors)
        short = jax.eval_shape(ranker.make_shortlist, catalog, vectors)
        lower(ranker._find_in_shortlist, *rows, asked, catalog, vectors, short, num_items=10)


@pytest.mark.parametrize("estimator", ["gumbel", "ste"])
def test_joint_training(estimator):
    settings, model, _, _, mesh = quantizer()
    config, built, candidates, examples = recommender("decoder")
    changed(config, {"joint.estimator": estimator, "train.log_every_steps": 2, "train.num_epochs": 10.0})
    recommended = recommender_step.Recipe.of(config, 24, built)
    graphdef, params, statistics = parts(model)
    recipe = JointRecipe.of(config, recommended, settings, graphdef, 40)
    shapes = jax.eval_shape(
        lambda: JointState(
            recommender_step.make_state(built, recommended.init_optimizer),
            params,
            statistics,
            recipe.optimizer.init(params),
            jnp.zeros((N, 2), jnp.int32),
        )
    )
    begun, table = abstract_on_every_device(shapes, mesh), build_code_table(candidates.table.semantic_ids, SIZES)
    key = jax.random.key(0)
    lower(joint_steps, recipe, begun, examples, array(N, D), table, num_steps=2, mesh=mesh)
    lower(joint_quantizer._revive, graphdef, params, statistics, array(N, D), key, True)
    lower(joint_loop.revive_unused, recipe, params, statistics, begun.opt_state, array(N, D), codes(N, 2), key)


def test_no_compiled_function_is_left_out():
    compiled = {}
    for module in pkgutil.walk_packages(sid_jax.__path__, "sid_jax."):
        if module.name != "sid_jax.__main__" and not module.name.startswith("sid_jax.cli."):
            compiled |= {
                each: f"{module.name}.{name}"
                for name, each in vars(importlib.import_module(module.name)).items()
                if type(each).__name__ == "PjitFunction" and each.__module__.startswith("sid_jax.")
            }
    assert len(compiled) > 35
    named = [name.split(".") for name in re.findall(r"lower\(\s*([\w.]+),", Path(__file__).read_text())]
    lowered = {functools.reduce(getattr, names, globals()[first]) for first, *names in named if first != "function"}
    assert {name for each, name in compiled.items() if each not in lowered} == set()
