"""JointQuantizer in models of NNX, Haiku, Equinox and plain JAX: schedules, resets, convergence, and the tokenizer."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from ml_collections import FrozenConfigDict

import sid_jax
from sid_jax import JointQuantizer, SemanticIdTokenizer, UserError
from sid_jax.config import default_config
from sid_jax.data.layout import ItemPart, Layout
from sid_jax.joint_quantizer.anchor import anchor_terms
from sid_jax.joint_quantizer.changes import IdChanges
from sid_jax.joint_quantizer.schedules import Course
from sid_jax.joint_quantizer.start import Origin
from sid_jax.quantize.residual import residual_quantize
from sid_jax.tokens.write import write_tokens

N, D, K, F, STEPS = 52, 6, 8, 5, 40
VECTORS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
ITEMS = np.random.default_rng(1).integers(-1, N, (10, 4))
SMALL = {"num_levels": 2, "codebook_size": K, "latent_dimension": 4, "hidden_dimensions": (9,)}
# At these learning rates, IDs change within a few steps.
RATES = {"encoder_rate": 1e-2, "codebook_rate": 1e-2, "decoder_rate": 1e-2}


def make_tables():
    return [jax.random.normal(jax.random.key(level), (K, F)) for level in range(2)]


def model_loss(output, tables):
    """Returns a loss that is low if consecutive items have similar embeddings."""
    sums = output.embeddings(tables).sum(axis=-2)
    return jnp.mean(jnp.square(sums[:, 1:] - sums[:, :-1])) + output.loss


class Model(nnx.Module):
    def __init__(self, quantizer):
        self.inner = nnx.Dict(ids=quantizer)
        self.tables = nnx.List(map(nnx.Param, make_tables()))

    def __call__(self, step):
        output = self.inner["ids"](jnp.asarray(VECTORS), step, jnp.asarray(ITEMS))
        return model_loss(output, [table[...] for table in self.tables])


@dataclasses.dataclass
class Trained:
    quantizer: JointQuantizer
    params: Any
    opt_state: Any
    codes: list[np.ndarray]  # before the first step, and after each step
    losses: list[float]


@pytest.fixture(scope="module")
def trained():
    """A finished run with pure functions; `params` is a pair: the model's tables, and the quantizer's parameters."""
    quantizer = JointQuantizer(VECTORS, num_steps=STEPS, **SMALL, **RATES)
    optimizer = quantizer.optimizer(optax.adam(1e-2))

    @jax.jit
    def take_step(params, opt_state, step):
        def loss(params):
            output = quantizer.apply(params[1], jnp.asarray(VECTORS), step, jnp.asarray(ITEMS))
            return model_loss(output, params[0])

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    params = (make_tables(), quantizer.params)
    opt_state, codes, losses = optimizer.init(params), [quantizer.encode(VECTORS)], []
    for step in range(STEPS):
        params, opt_state, loss = take_step(params, opt_state, step)
        codes.append(quantizer.with_params(params[1]).encode(VECTORS))
        losses.append(float(loss))
    return Trained(quantizer, params, opt_state, codes, losses)


def test_schedules_as_computed_by_hand():
    settings = FrozenConfigDict({"temperature": 0.5, "min_temperature": 0.1, "noise_scale": 0.2})
    course = Course(100, 10, settings, settle_share=0.2, hold=True)
    noise = [float(course.noise_scale(step)) for step in (0, 20, 40, 79, 80, 99)]
    np.testing.assert_allclose(noise, [0.2, 0.15, 0.1, 0.2 / 80, 0, 0], rtol=1e-4, atol=1e-8)
    temperatures = [float(course.temperature(step)) for step in (0, 50, 100, 200)]
    np.testing.assert_allclose(temperatures, [0.5, 0.05**0.5, 0.1, 0.1], rtol=1e-5)
    assert [course.last_step(group) for group in ("encoder", "codebooks", "decoder")] == [80, 90, 90]
    # The learning rate of a group of parameters warms up from 2/11 to 2 in 10 steps. Then it falls in half a cosine
    # wave until the group's last step: in 70 steps for the encoder, and in 80 steps for codebooks and decoder.
    for group, half in (("encoder", 45), ("codebooks", 50), ("decoder", 50)):
        rate = course.rate(2.0, group)
        np.testing.assert_allclose([rate(0), rate(10), rate(half)], [2 / 11, 2, 1], rtol=1e-5)
        assert rate(course.last_step(group) - 1) > 0 == rate(course.last_step(group)) == rate(150)
    assert not course.noiseless(79) and course.noiseless(80)
    # The recommender's joint training has `hold=False`: the encoder is trained until the whole quantizer is frozen.
    assert dataclasses.replace(course, hold=False).last_step("encoder") == 100


def test_ids_change_and_then_stay_as_they_are_in_the_last_tenth(trained):
    changes = [
        IdChanges.between(before, after, (K, K)).churn
        for before, after in zip(trained.codes[:-1], trained.codes[1:], strict=True)
    ]
    assert sum(changes[: STEPS // 2]) > 0.1
    assert changes[-STEPS // 10 :] == [0] * (STEPS // 10)
    assert trained.losses[-1] < 0.8 * trained.losses[0]
    assert trained.quantizer.final_step == 0.9 * STEPS


def test_nnx_gives_the_numbers_of_the_pure_functions(trained):
    model = Model(JointQuantizer(VECTORS, num_steps=STEPS, **SMALL, **RATES))
    quantizer = model.inner["ids"]
    optimizer = nnx.Optimizer(model, quantizer.optimizer(optax.adam(1e-2)), wrt=nnx.Param)

    @nnx.jit
    def take_step(model, optimizer, step):
        loss, grads = nnx.value_and_grad(lambda model: model(step))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(take_step(model, optimizer, step)) for step in range(STEPS)]
    np.testing.assert_allclose(losses, trained.losses, rtol=1e-4)
    np.testing.assert_array_equal(quantizer.encode(VECTORS), trained.codes[-1])

    # The codewords 2 and 5 of the first level are moved far away from all items.
    level = quantizer.rqvae.quantizer.levels[0]
    level[...] = level[...].at[jnp.array([2, 5])].set(100.0)
    params, before = {"x": [quantizer.params]}, np.asarray(level[...])
    assert not {2, 5} & set(quantizer.encode(VECTORS)[:, 0].tolist())
    revived, opt_state = quantizer.revive(params, trained.opt_state, jnp.asarray(VECTORS), 10)
    quantizer.revive_in_place(optimizer, jnp.asarray(VECTORS), 10)
    np.testing.assert_array_equal(level[...], revived["x"][0]["rqvae"]["quantizer"]["levels"][0])
    kept = np.delete(np.arange(K), [2, 5])
    np.testing.assert_array_equal(np.asarray(level[...])[kept], before[kept])
    assert {2, 5} <= set(quantizer.encode(VECTORS)[:, 0].tolist())
    for state in (opt_state, nnx.state(optimizer.opt_state)):
        moments = [
            np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
            if "['levels'][0]" in jax.tree_util.keystr(path)
        ]
        assert len(moments) == 2
        for moment in moments:
            assert (moment[[2, 5]] == 0).all() and (moment[kept] != 0).all()


def test_where_ids_settle_no_code_is_reset(trained):
    params = trained.quantizer.params
    level = params["rqvae"]["quantizer"]["levels"]
    level[1] = level[1].at[3].set(100.0)
    revived, _ = trained.quantizer.revive(params, (), jnp.asarray(VECTORS), 0.8 * STEPS)
    np.testing.assert_array_equal(revived["rqvae"]["quantizer"]["levels"][1], level[1])


@hk.without_apply_rng
@hk.transform
def haiku_model(embeddings):
    return hk.Linear(F, name="mix")(embeddings.sum(axis=-2))


class EquinoxModel(eqx.Module):
    """A module whose leaves include the quantizer's parameters and a value that is not an array."""

    mix: eqx.nn.Linear
    tables: list[jax.Array]
    quantizer: dict[str, Any]
    name: str

    def __call__(self, embeddings):
        return jax.vmap(jax.vmap(self.mix))(embeddings.sum(axis=-2))


def in_haiku(quantizer):
    model = haiku_model.init(jax.random.key(0), jnp.zeros((1, 2, 2, F)))
    params = {"model": model, "tables": make_tables(), "quantizer": quantizer.params}
    return params, lambda params, embeddings: haiku_model.apply(params["model"], embeddings), lambda params: params


def in_equinox(quantizer):
    linear = eqx.nn.Linear(F, F, key=jax.random.key(0))
    model = EquinoxModel(linear, make_tables(), quantizer.params, "a model")
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    return params, lambda params, embeddings: eqx.combine(params, rest)(embeddings), vars


@pytest.mark.parametrize("place", [in_haiku, in_equinox])
def test_a_model_is_trained_with_the_quantizer_in_its_parameters(trained, place):
    quantizer = trained.quantizer
    params, model, parts = place(quantizer)
    first = params
    optimizer = quantizer.optimizer(optax.adam(1e-2))

    @jax.jit
    def take_step(params, opt_state, step):
        def loss(params):
            output = quantizer.apply(parts(params)["quantizer"], jnp.asarray(VECTORS), step, jnp.asarray(ITEMS))
            hidden = model(params, output.embeddings(parts(params)["tables"]))
            return jnp.mean(jnp.square(hidden[:, 1:] - hidden[:, :-1])) + output.loss

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, losses = optimizer.init(params), []
    for step in range(6):
        params, opt_state, loss = take_step(params, opt_state, step)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    changed = jax.tree.map(lambda old, new: bool((old != new).any()), first, params)
    assert all(jax.tree.leaves(changed))

    # A code whose codeword is far from all items is reset to an item's residual.
    levels = parts(params)["quantizer"]["rqvae"]["quantizer"]["levels"]
    levels[0] = levels[0].at[2].set(100.0)
    revived, opt_state = quantizer.revive(params, opt_state, jnp.asarray(VECTORS), 1)
    assert jax.tree.structure(revived) == jax.tree.structure(params)
    trained = quantizer.with_params(parts(revived)["quantizer"])
    assert 2 in trained.encode(VECTORS)[:, 0]

    tokenizer = trained.freeze(VECTORS)
    np.testing.assert_array_equal(tokenizer.table.codes, trained.encode(VECTORS))
    assert len(np.unique(tokenizer.table.semantic_ids, axis=0)) == N


def test_a_state_without_one_quantizer_is_refused(trained):
    params = trained.quantizer.params
    with pytest.raises(UserError, match="has no 'rqvae'"):
        trained.quantizer.revive(params["rqvae"], (), VECTORS, 0)
    with pytest.raises(UserError, match="of several quantizers"):
        trained.quantizer.revive([params, params], (), VECTORS, 0)


@jax.jit
def anchor_of(model, vectors):
    alone = residual_quantize(model.encode(vectors), model.quantizer.codebooks, method="ste")
    terms = anchor_terms(model, alone, model.inputs(vectors), jnp.ones(len(vectors), bool), 1.0, 0.25)
    return terms["anchor_loss"]


@pytest.mark.parametrize("items", [np.array(["a", "b"]), ["a", "b"], np.array([0.5, 1.0])])
def test_items_that_are_not_row_numbers_are_refused(trained, items):
    with pytest.raises(UserError, match="give row numbers of the vectors, and -1 at empty positions"):
        trained.quantizer(jnp.asarray(VECTORS), 0, items)


def test_each_item_is_quantized_once_and_counts_once(trained):
    quantizer = trained.quantizer
    items = jnp.array([[3, 7, 3, -1], [7, 3, 50, -1]])
    call = jax.jit(lambda step: quantizer(jnp.asarray(VECTORS), step, items))
    output = call(5)
    there = np.asarray(items) >= 0
    np.testing.assert_array_equal(there, output.counted)
    assert (output.codes[0, 0] == output.codes[0, 2]).all() and (output.codes[0, 0] == output.codes[1, 1]).all()
    assert (np.asarray(output.codes)[~there] == 0).all()
    embeddings = np.asarray(output.embeddings(make_tables()))
    looked_up = np.stack([np.asarray(table)[output.codes[..., level]] for level, table in enumerate(make_tables())], 2)
    np.testing.assert_array_equal(embeddings, np.where(there[..., None, None], looked_up, 0))
    # Without noise, the loss is the anchor loss of the three items.
    quiet = call(STEPS)
    np.testing.assert_allclose(quiet.loss, anchor_of(quantizer.rqvae, VECTORS[[3, 7, 50]]), rtol=1e-5)
    np.testing.assert_array_equal(quiet.codes[1, :3], quantizer.encode(VECTORS[[7, 3, 50]]))
    assert quiet.terms["agreement"] == 1 and quiet.terms["noise_scale"] == 0


def test_it_ends_in_a_tokenizer_that_is_saved_appended_to_and_spoken(trained, tmp_path):
    quantizer = trained.quantizer.with_params(trained.params[1])
    ids = [f"item {number}" for number in range(N)]
    tokenizer = quantizer.freeze(VECTORS, ids, columns={"title": ids})
    np.testing.assert_array_equal(tokenizer.encode(VECTORS), trained.codes[-1])
    np.testing.assert_array_equal(tokenizer.table.codes, trained.codes[-1])
    assert len(np.unique(tokenizer.table.semantic_ids, axis=0)) == N > K
    assert tokenizer.export.manifest["joint"]["steps"] == STEPS
    # If unique IDs are given, the model gets these IDs instead of the codes.
    ids, items = tokenizer.table.semantic_ids, jnp.array([4, 9])
    output = jax.jit(lambda: quantizer(jnp.asarray(VECTORS), STEPS, items, ids))()
    np.testing.assert_array_equal(output.codes, ids[[4, 9]])
    np.testing.assert_array_equal(output.embeddings(make_tables())[1, 1], make_tables()[1][ids[9, 1]])

    tokenizer.save(tmp_path / "joint")
    loaded = sid_jax.load(tmp_path / "joint")
    assert loaded.table.semantic_id("item 7") == tokenizer.table.semantic_id("item 7")
    assert len(loaded.append(["new"], VECTORS[:1] + 0.01).table) == N + 1
    write_tokens(tmp_path / "joint", tmp_path / "tokens", first_id=100)
    assert (tmp_path / "tokens" / "tokens.json").exists()
    again = JointQuantizer(tmp_path / "joint", num_steps=10, estimator="ste")
    np.testing.assert_array_equal(again.encode(VECTORS), trained.codes[-1])
    with pytest.raises(UserError, match="num_levels is a setting of the tokenizer"):
        JointQuantizer(tmp_path / "joint", num_steps=10, num_levels=2)


def test_it_starts_from_a_run_whose_codebooks_are_products(tmp_path):
    tokenizer = SemanticIdTokenizer(**SMALL, quantization_method="simvq", num_epochs=2, batch_size=16)
    tokenizer.fit(VECTORS, workdir=tmp_path / "run", verbose=False)
    for start in (tokenizer, tmp_path / "run"):
        quantizer = JointQuantizer(start, num_steps=10)
        np.testing.assert_array_equal(quantizer.encode(VECTORS), tokenizer.encode(VECTORS))
        assert list(quantizer.params["rqvae"]["quantizer"]) == ["levels"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 9, "estimator": "hard"}, "estimator is 'hard'"),
        ({"num_steps": 9, "min_temperature": 1.0}, "min_temperature is 1.0, above temperature=0.5"),
        ({"num_steps": 9, "noise": 1.0}, "there is no setting noise"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        JointQuantizer(VECTORS, **settings)


@pytest.mark.parametrize(("feature", "value"), [(0, np.inf), (4, np.nan), (slice(None), np.nan)])
def test_items_with_infinite_values_half_a_part_or_no_part_are_rejected(feature, value):
    layout = Layout((ItemPart("text", 4), ItemPart("image", 2)))
    origin, vectors = Origin(default_config(), D, layout), VECTORS.copy()
    vectors[3, 4:] = np.nan
    np.testing.assert_array_equal(origin.items(vectors, None, None).vectors, vectors)
    vectors[7, feature] = value
    with pytest.raises(UserError, match="row 7 .counted from 0. has infinite values"):
        origin.items(vectors, None, None)
