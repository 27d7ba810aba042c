import jax
import numpy as np

from sid_jax.streams import stream_key


def draw(*args):
    return float(jax.random.normal(stream_key(*args)))


def test_a_key_is_a_function_of_seed_stream_and_step():
    assert draw(0, "forward", 3) == draw(0, "forward", 3)
    drawn = [draw(0, "forward", 3), draw(1, "forward", 3), draw(0, "shuffle", 3), draw(0, "forward", 4)]
    assert len(set(drawn)) == 4


def test_a_traced_step_gives_the_same_key():
    traced = jax.jit(lambda step: jax.random.key_data(stream_key(0, "forward", step)))(7)
    np.testing.assert_array_equal(traced, jax.random.key_data(stream_key(0, "forward", 7)))
