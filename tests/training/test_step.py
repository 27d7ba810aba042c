import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from scipy import sparse

from sid_jax.data.relations import Partners, Relations
from sid_jax.quantize.kmeans import residual_kmeans
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import assign_codes, sum_codewords
from sid_jax.training.evaluate import evaluate, measured_rows
from sid_jax.training.recipe import Recipe
from sid_jax.training.schedules import Durations
from sid_jax.training.sharding import epoch_order, on_every_device
from sid_jax.training.state import abstract_model, begin, make_state
from sid_jax.training.step import train_step, train_steps

# The step is compiled, as in a run.
train_step = jax.jit(train_step, static_argnums=0)


def mesh_of(num_devices):
    return jax.make_mesh((num_devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:num_devices])


def setup(config, corpus):
    durations = Durations.of(config.train, len(corpus))
    recipe = Recipe.of(config, durations, abstract_model(config, corpus.shape[1]))
    return recipe, make_state(begin(config, corpus), recipe.init_optimizer)


def take_steps(config, corpus, num_devices, num_steps=100, relations=None):
    recipe, state = setup(config, corpus)
    mesh = mesh_of(num_devices)
    state, vectors, relations = on_every_device((state, jnp.asarray(corpus), relations), mesh)
    return recipe, *train_steps(recipe, state, vectors, relations, num_steps=num_steps, mesh=mesh)


# The other methods differ from these only in computations per item, so they are not tested.
@pytest.mark.parametrize("method", ["ste", "gumbel_softmax", "ema"])
def test_the_losses_are_the_same_on_1_2_and_8_devices(config, corpus, method):
    config.model.quantization_method = method
    # Sharding is the same for all methods, so only one method is also tested on two devices.
    counts = (1, 2, 8) if method == "gumbel_softmax" else (1, 8)
    one, *others = (take_steps(config, corpus, n)[2]["loss"] for n in counts)
    for other in others:
        np.testing.assert_allclose(other, one, rtol=1e-5)
    assert one[-1] < one[0]


def test_partners_are_the_same_on_1_and_8_devices_and_their_loss_is_in_the_whole(config, corpus):
    config.model.contrastive_weight = 0.1
    config.data.unit_norm = False
    partners = Partners.of(sparse.csr_array(np.eye(300)[np.arange(300) ^ 1]))
    one, other = (take_steps(config, corpus, n, relations=Relations(partners))[2] for n in (1, 8))
    np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5)
    assert one["contrastive_loss"][:5].mean() > one["contrastive_loss"][-5:].mean()
    # The weight of the contrastive loss is multiplied by the mean squared length of the scaled vectors. This mean is
    # 12, since each of the 12 features has a mean square of 1.
    rest = one["loss"] - one["reconstruction_loss"] - one["codebook_loss"] - 0.25 * one["commitment_loss"]
    assert rest[:70].mean() == pytest.approx(float(0.1 * 12 * one["contrastive_loss"][:70].mean()), rel=0.02)
    # At the end of a run, the contrastive loss is not part of the loss.
    np.testing.assert_allclose(rest[80:], 0, atol=1e-3)


def test_the_alignment_is_the_same_on_1_and_8_devices_and_only_of_items_that_histories_know(config, corpus):
    config.model.alignment_weight = 0.1
    config.data.collaborative_dimension = 4
    known = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    known[::3] = 0.0
    one, other = (take_steps(config, corpus, n, relations=Relations(collaborative=known))[2] for n in (1, 8))
    np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5)
    assert one["alignment_loss"][:5].mean() > one["alignment_loss"][-5:].mean() > 0
    nobody = take_steps(config, corpus, 1, 2, relations=Relations(collaborative=np.zeros_like(known)))[2]
    np.testing.assert_array_equal(nobody["alignment_loss"], 0.0)
    assert np.isfinite(nobody["gradient_norm"]).all()


def test_from_one_state_the_codes_are_the_same_on_1_2_and_8_devices(config, corpus):
    recipe, state, _ = take_steps(config, corpus, 1)
    state = jax.device_get(state)
    codes = [
        evaluate(recipe, on_every_device(state, mesh), corpus, 1.0, mesh).codes for mesh in map(mesh_of, (1, 2, 8))
    ]
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_array_equal(codes[0], codes[2])


def test_many_steps_in_one_call_are_those_of_many_calls(config, corpus):
    recipe, state, metrics = take_steps(config, corpus, 2)
    mesh = mesh_of(2)
    other, vectors = on_every_device((setup(config, corpus)[1], jnp.asarray(corpus)), mesh)
    losses = []
    for _ in range(10):
        other, more = train_steps(recipe, other, vectors, num_steps=10, mesh=mesh)
        losses.append(more["loss"])
    np.testing.assert_allclose(np.concatenate(losses), metrics["loss"], rtol=1e-6)
    for left, right in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_the_losses_are_means_over_items_so_that_they_do_not_depend_on_the_batch_size(config, corpus):
    config.model.quantization_method = "ste"
    recipe, state = setup(config, corpus)
    whole = train_step(recipe, state, jnp.asarray(corpus[:128]))[1]
    halves = [train_step(recipe, state, jnp.asarray(corpus[rows]))[1] for rows in (slice(0, 64), slice(64, 128))]
    twice = train_step(recipe, state, jnp.asarray(np.tile(corpus[:64], (2, 1))))[1]
    for name in ("loss", "reconstruction_loss", "codebook_loss", "commitment_loss"):
        assert whole[name] == pytest.approx(np.mean([half[name] for half in halves]), rel=1e-5)
        assert twice[name] == pytest.approx(float(halves[0][name]), rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms(config, corpus):
    recipe, state = setup(config, corpus)
    metrics = train_step(recipe, state, jnp.asarray(corpus[:64]))[1]
    expected = (
        metrics["reconstruction_loss"]
        + config.model.codebook_weight * metrics["codebook_loss"]
        + config.model.commitment_weight * metrics["commitment_loss"]
    )
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_an_epoch_holds_every_item_and_every_epoch_has_its_own_order():
    first, second = (np.asarray(epoch_order(0, epoch, 300, 5 * 64)) for epoch in (0, 1))
    assert len(first) == 5 * 64
    assert set(first) == set(range(300))
    assert sorted(first[:300]) == list(range(300))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, epoch_order(0, 0, 300, 5 * 64))


def test_nothing_recompiles_as_temperature_and_step_change(config, corpus):
    recipe, state = setup(config, corpus)
    mesh = mesh_of(2)
    state, vectors = on_every_device((state, jnp.asarray(corpus)), mesh)
    train_steps.clear_cache()
    temperatures = []
    for _ in range(5):
        state, metrics = train_steps(recipe, state, vectors, num_steps=10, mesh=mesh)
        temperatures += metrics["temperature"].tolist()
    assert train_steps._cache_size() == 1
    assert len(set(temperatures)) > 5


@pytest.mark.parametrize("method", ["ste", "simvq", "ema"])
def test_a_dead_code_is_revived_with_its_moments_reset_and_is_used_again(config, corpus, method):
    config.model.quantization_method = method
    config.train.revive_every_epochs = 1.0
    recipe, state = setup(config, corpus)
    for batch in corpus[:256].reshape(4, 64, 12):
        state, _ = train_step(recipe, state, jnp.asarray(batch))
    far = state.params["quantizer"]["levels"][1]
    far[...] = far[...].at[3].set(1e3)
    state = dataclasses.replace(state, taken=tuple(t.at[3].set(0) for t in state.taken))
    assert state.step == 4
    state, _ = train_step(recipe, state, jnp.asarray(corpus[:64]))  # step 5 ends the epoch
    codebook = recipe.model(state).quantizer.codebooks[1]
    assert np.abs(codebook[3]).max() < 100
    moments = [
        leaf[3]
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
        if "'levels'][1]" in jax.tree_util.keystr(path)
    ]
    assert len(moments) == 2 and all(np.all(moment == 0) for moment in moments)
    assert all(np.all(taken == 0) for taken in state.taken)
    codes = evaluate(recipe, state, corpus, 1.0, mesh_of(1)).codes
    assert 3 in codes[:, 1]
    if method == "ema":
        assert state.statistics["quantizer"]["counts"][1][...][3] == 1.0


def test_late_in_the_run_nothing_is_revived(config, corpus):
    config.train.revive_until = 0.0
    recipe, state = setup(config, corpus)
    for _ in range(5):
        state, _ = train_step(recipe, state, jnp.asarray(corpus[:64]))
    assert all(taken.sum() == 5 * 64 for taken in state.taken)


@pytest.mark.parametrize("num_devices", [1, 3])
def test_evaluation_measures_every_item_of_a_corpus_that_no_call_divides(config, corpus, monkeypatch, num_devices):
    monkeypatch.setattr("sid_jax.training.evaluate._ITEMS_A_CALL", 128)
    recipe, state = setup(config, corpus)
    in_parts = evaluate(recipe, state, corpus, 1.0, mesh_of(num_devices))
    monkeypatch.undo()
    at_once = evaluate(recipe, state, corpus, 1.0, mesh_of(1))
    np.testing.assert_array_equal(in_parts.codes, at_once.codes)
    assert in_parts.metrics["r2"] == pytest.approx(at_once.metrics["r2"], abs=1e-6)
    assert in_parts.metrics["num_items"] == 300


def test_evaluation_on_a_sample_has_the_codes_of_all_items_and_the_other_metrics_of_the_sample(
    config, corpus, monkeypatch
):
    recipe, state = setup(config, corpus)
    everything = evaluate(recipe, state, corpus, 1.0, mesh_of(3))
    assert measured_rows(300, seed=0) is None
    monkeypatch.setattr("sid_jax.training.evaluate._MEASURED_ITEMS", 100)
    rows = measured_rows(300, seed=0)
    assert len(np.unique(rows)) == 100 and (np.diff(rows) > 0).all() and rows[-1] < 300
    assert not np.array_equal(measured_rows(300, seed=1), rows)
    sampled = evaluate(recipe, state, corpus, 1.0, mesh_of(3), rows)
    np.testing.assert_array_equal(sampled.codes, everything.codes)
    alone = evaluate(recipe, state, corpus[rows], 1.0, mesh_of(1))
    assert sampled.metrics["num_items"] == 300 and sampled.metrics["num_measured"] == 100
    for name, value in sampled.metrics.items():
        if name in ("r2", "mse", "cosine", "near_ties", "agreement"):
            assert value == pytest.approx(alone.metrics[name], rel=1e-5), name
        elif name != "num_measured":
            assert value == everything.metrics[name], name


def test_r2_by_hand(config, corpus):
    config.data.unit_norm = False
    recipe, state = setup(config, corpus)
    evaluation = evaluate(recipe, state, corpus, 1.0, mesh_of(1))
    reconstructions = np.asarray(recipe.model(state).reconstruct(evaluation.codes), np.float64)
    residual = np.square(corpus - reconstructions).sum()
    r2 = 1 - residual / np.square(corpus - corpus.mean(0, dtype=np.float64)).sum()
    assert evaluation.metrics["r2"] == pytest.approx(r2, abs=1e-5)
    assert evaluation.metrics["mse"] == pytest.approx(residual / corpus.size, rel=1e-4)


def test_agreement_is_whole_only_when_the_noise_is_gone(config, corpus):
    recipe, state = setup(config, corpus)
    state = dataclasses.replace(state, step=jnp.int32(1))
    noisy = evaluate(recipe, state, corpus, 1.0, mesh_of(1)).metrics["agreement"]
    state = dataclasses.replace(state, step=jnp.int32(recipe.lengths.num_steps))
    assert noisy < 0.9
    assert evaluate(recipe, state, corpus, 1.0, mesh_of(1)).metrics["agreement"] == 1.0


def test_at_the_end_the_encoder_holds_still_while_codebooks_and_decoder_settle(config, corpus):
    config.train.settle_share = 0.5
    recipe, state = setup(config, corpus)
    batch = jnp.asarray(corpus[:64])
    for step, moves in ((49, True), (50, False)):
        before = dataclasses.replace(state, step=jnp.int32(step))
        after, _ = train_step(recipe, before, batch)
        moved = {
            part: any(
                not np.array_equal(old, new)
                for old, new in zip(
                    jax.tree.leaves(before.params[part]), jax.tree.leaves(after.params[part]), strict=True
                )
            )
            for part in ("encoder", "quantizer", "decoder")
        }
        assert moved == {"encoder": moves, "quantizer": True, "decoder": True}


def test_without_a_network_moving_averages_are_residual_kmeans(config, corpus):
    config.model.update({"encoder": "identity", "quantization_method": "ema"})
    config.data.update({"unit_norm": False, "standardize": "none"})
    config.train.kmeans_iterations = 100
    recipe, state, _ = take_steps(config, corpus, 8)
    model = recipe.model(state)
    assert not jax.tree.leaves((state.params.get("encoder", {}), state.params.get("decoder", {})))
    assert model.quantizer.codebooks[0].shape == (16, 12)
    centered = jnp.asarray(corpus - corpus.mean(axis=0))
    codebooks = residual_kmeans(centered, (16, 16, 16), 100)
    error = jnp.sum(squared_error(centered, sum_codewords(assign_codes(centered, codebooks), codebooks)))
    ours = jnp.sum(squared_error(jnp.asarray(corpus), model.reconstruct(model.assign(corpus))))
    assert ours < 1.02 * error
