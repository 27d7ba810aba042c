"""A step of joint training: its gradients, its loss, and no recompilation for another ID table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.ids.trie import build_trie
from sid_jax.joint_quantizer.optimizer import make_quantizer_optimizer
from sid_jax.joint_quantizer.trained import parts
from sid_jax.recommend.data.packing import PackedRows, pack_rows
from sid_jax.recommend.data.task import load_split, make_task
from sid_jax.recommend.joint.code_table import BatchItems, CodeTable, build_code_table, items_of, most_items
from sid_jax.recommend.joint.objective import _lack_of_information, joint_loss
from sid_jax.recommend.joint.step import JointRecipe, JointState, joint_course, joint_lengths, joint_steps
from sid_jax.recommend.joint.tokenizer import load_tokenizer
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import build_catalog
from sid_jax.recommend.training.step import Recipe, make_state
from sid_jax.training.schedules import Lengths
from sid_jax.training.sharding import all_devices, on_every_device

LENGTHS = Lengths(
    steps_per_epoch=10, steps_per_unit=10, num_steps=100, warmup_steps=10, log_every_steps=10, eval_every_steps=50
)
SIZES = (8, 8)
STEP = 3


@dataclasses.dataclass
class Begun:
    """The initial state of a joint run, and its first batch."""

    recipe: JointRecipe
    state: JointState
    examples: PackedRows
    vectors: jax.Array
    batch: PackedRows
    items: BatchItems
    table: CodeTable

    def gradients(self, *variants):
        """Returns the metrics and gradients of each variant of the recipe, computed by one compiled program."""
        recipes = [dataclasses.replace(self.recipe, **changes) for changes in variants]

        def of(params, recipe):
            return joint_loss(
                recipe, params, self.state.statistics, self.batch, self.items, self.table, jnp.int32(STEP)
            )

        @jax.jit
        def all_of_them(params):
            pairs = [jax.value_and_grad(of, has_aux=True)(params, recipe) for recipe in recipes]
            return [(metrics, grads) for (_, metrics), grads in pairs]

        return all_of_them({"recommender": self.state.recommender.params, "quantizer": self.state.quantizer})


@pytest.fixture
def begun(joint_config, tmp_path):
    run = load_tokenizer(joint_config, Path(joint_config.ids))
    split = load_split(joint_config, run.data.ids)
    codes = run.model.assign(jnp.asarray(run.data.vectors))
    task = make_task(IdTable(run.data.ids, np.asarray(codes), shared=True), split, run.model.quantizer.codebook_sizes)
    examples = pack_rows(split.train, joint_config.model.window, joint_config.train.row_length)
    model = build_model(joint_config, task.candidates)
    recommender = Recipe.of(joint_config, len(examples.inputs), model)
    graphdef, quantizer, statistics = parts(run.model)
    recipe = JointRecipe.of(joint_config, recommender, run.config, graphdef, most_items(examples, 8))
    started = make_state(model, recommender.init_optimizer)
    state = JointState(started, quantizer, statistics, recipe.optimizer.init(quantizer), codes)
    examples, vectors = jax.tree.map(jnp.asarray, examples), jnp.asarray(run.data.vectors)
    batch = jax.tree.map(lambda leaf: leaf[:8], examples)
    items, table = items_of(batch, vectors, recipe.most_items), build_code_table(np.asarray(codes), SIZES)
    return Begun(recipe, state, examples, vectors, batch, items, table)


def largest(grads):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads))


def test_the_recommenders_loss_reaches_tables_codebooks_and_encoder(begun):
    ((_, grads),) = begun.gradients({"estimator": "gumbel", "anchor_weight": 0.0, "target_gradient": 0.0})
    assert largest(grads["recommender"]["embedding"]) > 1e-4
    assert largest(grads["quantizer"]["quantizer"]) > 1e-5 and largest(grads["quantizer"]["encoder"]) > 1e-5
    assert largest(grads["quantizer"]["decoder"]) == 0


def test_switches_keep_the_recommenders_loss_from_a_group_and_not_the_anchor(begun):
    (_, without_encoder), (_, without_codebooks), (_, anchored) = begun.gradients(
        {"estimator": "ste", "anchor_weight": 0.0, "stop_gradient": ("encoder",)},
        {"estimator": "ste", "anchor_weight": 0.0, "stop_gradient": ("codebooks",)},
        {"estimator": "ste", "stop_gradient": ("encoder", "codebooks")},
    )
    quantizer = without_encoder["quantizer"]
    assert largest(quantizer["encoder"]) == 0 < largest(quantizer["quantizer"])
    assert largest(without_encoder["recommender"]["embedding"]) > 1e-4
    quantizer = without_codebooks["quantizer"]
    assert largest(quantizer["quantizer"]) == 0 < largest(quantizer["encoder"])
    # In the third variant, the recommender's loss has no gradient with respect to the encoder and the codebooks. The
    # anchor loss still has gradients with respect to all three groups.
    assert all(largest(anchored["quantizer"][group]) > 1e-4 for group in ("encoder", "quantizer", "decoder"))


def test_the_loss_is_the_decoders_and_the_draw_to_what_is_expected_moves_assignments_alone(begun):
    variant = {"estimator": "ste", "anchor_weight": 0.0}
    (metrics, plain), (drawn_metrics, drawn) = begun.gradients(
        {**variant, "target_gradient": 0.0}, {**variant, "target_gradient": 1.0}
    )
    model = nnx.merge(begun.recipe.recommender.graphdef, begun.state.recommender.params)
    codes = np.asarray(begun.state.codes)
    catalog = build_catalog(codes, build_trie(codes, SIZES))
    total, weight = nnx.jit(type(model).loss)(model, begun.batch, catalog, begun.recipe.dropout_key(jnp.int32(STEP)))
    for each in (metrics, drawn_metrics):
        np.testing.assert_allclose(each["level_loss"], total / weight, rtol=1e-5)
        assert each["agreement"] == 1
    for one, other in zip(jax.tree.leaves(plain["recommender"]), jax.tree.leaves(drawn["recommender"]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    first, second = (
        jnp.abs(one[...] - other[...]).max()
        for one, other in zip(
            jax.tree.leaves(plain["quantizer"]["quantizer"]),
            jax.tree.leaves(drawn["quantizer"]["quantizer"]),
            strict=True,
        )
    )
    assert first > 1e-4 and second == 0  # The loss term of `target_gradient` acts on the first level only.


def test_a_group_of_rate_0_holds_still(joint_config):
    joint_config.joint.codebook_rate = 0.0
    optimizer = make_quantizer_optimizer(joint_config.joint, joint_course(joint_config.joint, LENGTHS))
    ones = {
        "encoder": {"kernel": jnp.ones(3)},
        "quantizer": {"levels": jnp.ones(3)},
        "decoder": {"kernel": jnp.ones(3)},
    }
    updates, _ = optimizer.update(ones, optimizer.init(ones), ones)
    assert largest(updates["quantizer"]) == 0
    assert largest(updates["encoder"]) > 0 and largest(updates["decoder"]) > 0


def test_another_table_is_the_same_program(begun):
    mesh, programs = all_devices(), set()
    state, examples, vectors = on_every_device((begun.state, begun.examples, begun.vectors), mesh)
    # `distinct` is the number of distinct IDs of the 40 items.
    for distinct in (40, 5, 1):
        codes = np.stack(np.divmod(np.arange(40) % distinct, SIZES[1]), axis=1).astype(np.int32)
        table = on_every_device(build_code_table(codes, SIZES), mesh)
        state, metrics = joint_steps(begun.recipe, state, examples, vectors, table, num_steps=5, mesh=mesh)
        programs.add(joint_steps._cache_size())
    assert len(programs) == 1
    assert int(state.step) == 15 and np.isfinite(metrics["loss"]).all()


def test_what_is_expected_everywhere_is_no_information():
    # The first two positions have weight 1, and the third one has weight 0. Code 0 has the same probability at the
    # first two positions. The probabilities of codes 1 and 2 differ between these positions.
    probabilities = jnp.array([[[0.5, 0.4, 0.1], [0.5, 0.1, 0.4], [0.9, 0.05, 0.05]]])
    lack = _lack_of_information(jnp.log(probabilities), jnp.array([[1.0, 1.0, 0.0]]))
    expected = np.log([0.5, 0.25, 0.25]) - np.log(probabilities)
    np.testing.assert_allclose(lack, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lack[0, :2, 0], 0, atol=1e-6)


def test_a_batchs_items_are_each_there_once_and_empty_places_hold_none(begun):
    batch = dataclasses.replace(begun.batch, segments=begun.batch.segments.at[1:].set(0))
    items = items_of(batch, begun.vectors, begun.recipe.most_items)
    there = np.unique([batch.inputs[0], batch.targets[0]])
    assert items.counted.sum() == len(there) < begun.items.counted.sum() <= begun.recipe.most_items
    np.testing.assert_array_equal(items.vectors[items.inputs[0]], begun.vectors[batch.inputs[0]])
    np.testing.assert_array_equal(items.vectors[items.targets[0]], begun.vectors[batch.targets[0]])


def test_a_joint_part_that_leaves_no_step_for_the_final_ids_is_refused(joint_config):
    joint_config.joint.share = 0.98
    with pytest.raises(
        UserError, match="compiled calls of 5 steps, takes all 100 steps of the run; lower config.joint.share"
    ):
        joint_course(joint_config.joint, dataclasses.replace(LENGTHS, log_every_steps=5))


@pytest.mark.parametrize(
    ("share", "num_steps", "freeze_step"), [(0.15, 6, 1), (0.9, 6, 5), (0.15, 100, 15), (0.5, 2, 1)]
)
def test_a_short_run_has_steps_of_both_phases(joint_config, share, num_steps, freeze_step):
    joint_config.joint.share, joint_config.joint.warmup_epochs = share, 0.0
    joint_config.train.batch_size, joint_config.train.num_epochs = 8, num_steps
    lengths = joint_lengths(joint_config, 8)
    assert lengths.num_steps == num_steps
    assert joint_course(joint_config.joint, lengths).freeze_step == freeze_step


def test_noise_and_temperature_fall_and_rates_end_at_0(joint_config):
    course = joint_course(joint_config.joint, LENGTHS)
    assert course.freeze_step == 60
    noise = np.array([float(course.noise_scale(step)) for step in range(60)])
    np.testing.assert_allclose(noise[0], joint_config.joint.noise_scale)
    assert (np.diff(noise) <= 0).all() and (noise[:48] > 0).all() and (noise[48:] == 0).all()
    temperatures = [float(course.temperature(step)) for step in (0, 30, 60)]
    np.testing.assert_allclose(temperatures, [0.5, 0.05**0.5, 0.1], rtol=1e-5)
    rates = np.array([float(course.rate(2.0, "encoder")(step)) for step in range(61)])
    assert rates.argmax() == course.warmup_steps == 5 and rates.max() == 2.0 and rates[60] == 0
