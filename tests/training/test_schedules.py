import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.config import default_config
from sid_jax.presets import preset, set_mlp
from sid_jax.training.schedules import Durations, learning_rate_schedule, noise_schedule, temperature_schedule


def durations(config, num_items=1000):
    return Durations.of(config.train, num_items)


def config_of(**train):
    config = default_config()
    set_mlp(config)
    config.train.batch_size = 100
    config.train.num_epochs = 50
    config.train.update(train)
    return config


def temperatures(config, steps):
    schedule = jax.jit(temperature_schedule(config.model, config.train, durations(config)))
    return np.array([schedule(jnp.int32(step)) for step in steps])


def test_the_default_is_the_exponential_one_updated_every_epoch():
    config = config_of()
    # An epoch has 10 steps, and the temperature is updated after each epoch, so step 29 comes after two updates.
    np.testing.assert_allclose(temperatures(config, [0, 9, 10, 29]), [2.0, 2.0, 2 * 0.9995, 2 * 0.9995**2], rtol=1e-6)


def test_updates_come_every_so_many_epochs():
    config = config_of(temperature_update_frequency=3)
    np.testing.assert_allclose(temperatures(config, [0, 29, 30, 59]), [2, 2, 2 * 0.9995, 2 * 0.9995], rtol=1e-6)


@pytest.mark.parametrize("schedule", ["exponential", "linear", "cosine"])
def test_every_schedule_falls_from_the_start_to_the_floor_and_not_below(schedule):
    config = config_of(annealing_schedule=schedule)
    config.model.temperature_decay = 0.9
    course = temperatures(config, range(500))
    assert course[0] == 2.0 and course[-1] == np.float32(0.05)
    assert (np.diff(course) <= 0).all() and (course >= np.float32(0.05)).all()


@pytest.mark.parametrize("num_epochs", [2, 3, 4, 7, 20, 45, 46])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("start", "floor"), [(2.0, 0.05), (0.1, 0.05), (0.7, 0.3)])
def test_linear_and_cosine_end_at_exactly_the_floor(schedule, num_epochs, start, floor):
    config = config_of(annealing_schedule=schedule, num_epochs=num_epochs)
    config.model.temperature, config.model.min_temperature = start, floor
    assert temperatures(config, [10 * num_epochs - 1])[0] == np.float32(floor)


@pytest.mark.parametrize("num_epochs", [30, 300, 700])
@pytest.mark.parametrize("name", ["ml100k:gumbel", "movielens:1m,gumbel"])
def test_the_length_of_a_run_on_few_items_can_be_changed_alone(name, num_epochs):
    config = preset(name)
    config.train.num_epochs = num_epochs
    first, last = temperatures(config, [0, durations(config).num_steps - 1])
    assert first == 2.0 and last == np.float32(config.model.min_temperature)


def test_linear_and_cosine_are_halfway_down_at_half_time():
    for schedule in ("linear", "cosine"):
        config = config_of(annealing_schedule=schedule, num_epochs=51)
        assert temperatures(config, [250])[0] == pytest.approx((2 + 0.05) / 2, rel=1e-5)


def test_without_annealing_the_start_is_kept():
    assert set(temperatures(config_of(temperature_annealing=False), [0, 499])) == {2.0}


def test_the_noise_falls_with_the_temperature_and_is_exactly_0_at_the_floor():
    config = config_of(annealing_schedule="linear")
    config.model.noise_scale = 0.4
    temperature = temperature_schedule(config.model, config.train, durations(config))
    noise = noise_schedule(config.model, temperature)
    assert noise(jnp.int32(0)) == pytest.approx(0.4)
    assert noise(jnp.int32(499)) == 0.0
    middle = (float(temperature(jnp.int32(250))) - 0.05) / 1.95
    assert noise(jnp.int32(250)) == pytest.approx(0.4 * middle, rel=1e-5)


def test_the_learning_rate_warms_up_and_ends_near_0():
    config = config_of(warmup_epochs=1.0, learning_rate=1.0)
    rate = learning_rate_schedule(config.train, durations(config))
    assert rate(0) == pytest.approx(1 / 11)
    assert rate(10) == pytest.approx(1.0)
    assert 0 < rate(499) < 1e-4
    config.train.learning_rate_schedule = "constant"
    assert learning_rate_schedule(config.train, durations(config))(499) == 1.0


def test_the_learning_rate_of_auto_falls_with_the_number_of_steps_of_a_long_run():
    for num_epochs, rate in ((5, 0.01), (80, 0.01), (320, 0.005), (8000, 0.001)):
        config = config_of(warmup_epochs=0.0, learning_rate="auto", num_epochs=num_epochs)
        assert durations(config).num_steps == 10 * num_epochs
        assert learning_rate_schedule(config.train, durations(config))(0) == pytest.approx(rate)


def test_epochs_become_steps_in_one_place():
    config = config_of(log_every_steps=20, eval_every_epochs=5, revive_every_epochs=0.5, revive_until=0.8)
    lengths = durations(config, 1001)
    assert lengths.steps_per_epoch == 11
    assert lengths.num_steps == 550
    assert lengths.revive_every_steps == 6 and lengths.revive_until_step == 440
    # The 550 steps are 50 calls of 11 steps, not 27 calls of 20 steps and one of 10.
    assert (lengths.log_every_steps, lengths.eval_every_steps) == (11, 55)
    # No number from 10 to 20 divides 553 steps.
    config.train.num_epochs = 553 / 11
    assert (durations(config, 1001).num_steps, durations(config, 1001).log_every_steps) == (553, 20)


def test_a_larger_catalog_is_seen_in_fewer_epochs():
    # A run has 24 epochs for up to 80,000 items. With 16 times as many items, it has an eighth of the epochs, and so
    # twice as many steps.
    for num_items, epochs in ((1000, 24), (80_000, 24), (1_280_000, 3), (800_000_000, 0.024)):
        lengths = durations(config_of(num_epochs="auto"), num_items)
        assert lengths.num_steps == pytest.approx(epochs * lengths.steps_per_epoch, abs=0.5)


def test_in_a_large_catalog_the_encoder_is_frozen_earlier():
    config = config_of(num_epochs=1, settle_share="auto", batch_size=100)
    settings = ((1000, "auto", 0.25), (100_000, "auto", 0.25), (100_001, "auto", 0.4), (200_000, 0.1, 0.1))
    for num_items, setting, share in settings:
        config.train.settle_share = setting
        lengths = durations(config, num_items)
        assert lengths.settle_from_step == round((1 - share) * lengths.num_steps)


def test_no_evaluation_is_shortly_before_the_last_one():
    config = config_of(num_epochs=11, log_every_steps=10, eval_every_epochs=4.0)
    lengths = durations(config, 1000)
    assert lengths.num_steps == 110 and lengths.eval_every_steps == 40
    assert [step for step in range(1, 111) if lengths.ends_in_evaluation(step)] == [40, 80, 110]
    config.train.num_epochs = 9
    assert [step for step in range(1, 91) if durations(config, 1000).ends_in_evaluation(step)] == [40, 90]


def test_a_run_of_auto_has_at_least_60_steps():
    config = config_of(num_epochs="auto", batch_size=512)
    assert [durations(config, num_items).num_steps for num_items in (1, 512, 513, 1024, 1025)] == [60, 60, 60, 60, 72]
    config = config_of(num_epochs="auto", batch_size=65_536)
    assert durations(config, 50_000).num_steps == 60
    assert durations(config_of(num_epochs=2, batch_size=512), 512).num_steps == 2


def test_settings_in_epochs_are_24ths_of_a_run_of_auto():
    config = config_of(num_epochs="auto", warmup_epochs=2.4, eval_every_epochs=8.0, revive_every_epochs=1.0)
    config.train.update({"log_every_steps": 25, "batch_size": 160})
    lengths = durations(config, 1_280_000)
    assert lengths.num_steps == 24_000 and lengths.revive_every_steps == 1000
    assert (lengths.warmup_steps, lengths.eval_every_steps) == (2400, 8000)
    # The temperature has 24 values, one per unit of 1,000 steps. The last value is the minimum.
    config.train.annealing_schedule = "linear"
    falling = temperature_schedule(config.model, config.train, lengths)
    assert falling(jnp.int32(999)) == 2.0 > falling(jnp.int32(1000)) and falling(jnp.int32(23_999)) == np.float32(0.05)
    config.train.batch_size = 100
    small = durations(config, 5000)
    config.train.num_epochs = 24
    assert small.warmup_steps == 120 and small == durations(config, 5000)


def test_a_run_shorter_than_a_call_is_one_call():
    config = config_of(num_epochs=1, batch_size=5000)
    assert durations(config).num_steps == 1 and durations(config).log_every_steps == 1


def test_gumbel_softmax_has_more_epochs_of_auto_and_its_settings_in_epochs_keep_their_length():
    usual, gumbel = (durations(preset(name), 12_101) for name in ("embeddings", "embeddings:gumbel"))
    assert (usual.num_steps, gumbel.num_steps) == (24 * 24, 45 * 24)
    assert usual.warmup_steps == gumbel.warmup_steps == 4 * 24
    # 640,000 is eight times 80,000, so the number of epochs is 45 times 8^(-3/4). An epoch has 1,250 steps.
    large = durations(preset("embeddings:gumbel"), 640_000)
    assert large.num_steps == round(45 * 8**-0.75 * 1250)
