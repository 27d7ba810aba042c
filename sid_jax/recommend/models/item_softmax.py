"""Softmax cross-entropy over a catalog's items: over all items block by block, or over a sample of them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

# Size of a block's logits in bytes. On a CPU, the logits of a block fit into the cache. On other devices, a block is
# large enough to keep the device busy.
_BLOCK_BYTES = {"cpu": 16 << 20}
_OTHER_BLOCK_BYTES = 1 << 30
# Logits are clipped to at most the target's logit plus this number, so that exp cannot overflow float32. A target that
# is e^60 times less likely than another item has a large loss in any case.
_MOST_ABOVE_TARGET = 60.0


def full_cross_entropy(
    hidden: jax.Array, items: jax.Array, targets: jax.Array, weights: jax.Array, smoothing: float
) -> jax.Array:
    """Returns the cross-entropy of a softmax over all items, as a weighted sum over positions: a float32 scalar.

    Matrix products are computed in the dtype of `hidden`, with float32 sums; everything else is float32.

    Args:
      hidden: `[B, P, F]`, hidden states, whose products with the items' vectors are the logits.
      items: `[N, F]`, the items' vectors.
      targets: `[B, P]` int32.
      weights: `[B, P]` float32, 0 for a position without a target; weights get no gradient.
      smoothing: the share of a target's probability that is spread over all items (Szegedy et al., 1512.00567).
    """
    logits = _target_logits(hidden, items, targets)
    partition = _partition(hidden, items, weights, jax.lax.stop_gradient(logits))
    wanted = (1 - smoothing) * jnp.sum(weights * logits)
    if smoothing:
        mean = jnp.mean(items.astype(jnp.float32), axis=0)
        weighted = jnp.einsum("bp,bpf->f", weights, hidden.astype(jnp.float32))
        wanted = wanted + smoothing * jnp.dot(weighted, mean)
    return partition - wanted


def sampled_cross_entropy(
    hidden: jax.Array,
    positives: jax.Array,
    negatives: jax.Array,
    same: jax.Array,
    log_rates: jax.Array,
    weights: jax.Array,
    smoothing: float,
) -> jax.Array:
    """Returns the cross-entropy of a softmax over a sample, as a weighted sum over positions: a float32 scalar.

    The softmax at a position is over the target and the sampled items. The logarithm of a sampled item's expected count
    in the sample is subtracted from its logit. The sum of exponentials over the sample then estimates the sum over all
    items (Bengio and Senécal, 2008).

    Args:
      hidden: `[B, P, F]`, hidden states, whose products with the items' vectors are the logits.
      positives: `[B, P, F]`, the targets' vectors.
      negatives: `[S, F]`, the sampled items' vectors.
      same: `[B, P, S]` bool, whether the sampled item is the target, which must not count twice.
      log_rates: `[S]` float32, the logarithms of the sampled items' expected counts.
      weights: `[B, P]` float32.
      smoothing: the share of a target's probability that is spread over the sampled items.
    """
    target = jnp.sum(hidden.astype(jnp.float32) * positives.astype(jnp.float32), axis=-1)
    products = jnp.einsum("bpf,sf->bps", hidden, negatives.astype(hidden.dtype), preferred_element_type=jnp.float32)
    logits = jnp.where(same, -jnp.inf, products - log_rates[None, None])
    total = jnp.logaddexp(jax.nn.logsumexp(logits, axis=-1), target)
    wanted = (1 - smoothing) * target + smoothing * jnp.mean(products, axis=-1) if smoothing else target
    return jnp.sum(weights * (total - wanted))


def _target_logits(hidden: jax.Array, items: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.sum(hidden.astype(jnp.float32) * items[targets].astype(jnp.float32), axis=-1)


@jax.custom_vjp
def _partition(hidden: jax.Array, items: jax.Array, weights: jax.Array, shift: jax.Array) -> jax.Array:
    """Returns the sum, over positions, of weight * logsumexp(logits of all items).

    The gradients with respect to `hidden` and `items` are computed in the forward pass, block by block, together with
    the sum. This is possible because the weights are given. The exponentials of a block are therefore computed only
    once, and used while they are in the cache.

    Args:
      hidden: `[B, P, F]`.
      items: `[N, F]`.
      weights: `[B, P]`.
      shift: `[B, P]`, a value near each position's largest logit (here the target's logit), which is subtracted before
        exp.
    """
    return _partition_forward(hidden, items, weights, shift)[0]


def _partition_forward(
    hidden: jax.Array, items: jax.Array, weights: jax.Array, shift: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    rows, places, features = hidden.shape
    width = _block_width(rows, places, len(items))
    by_block = functools.partial(_blocks, width=width)
    table = items.astype(hidden.dtype)
    transposed = table.T
    # With a column of ones, the product of the exponentials with the items also contains the sum of the exponentials.
    with_ones = jnp.concatenate([table, jnp.ones((len(table), 1), table.dtype)], axis=1)

    def add_block(
        totals: tuple[jax.Array, jax.Array], block: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        total, items_gradient = totals
        states, block_weights, block_shift = (each.reshape(rows * width, *each.shape[2:]) for each in block)
        logits = jnp.matmul(states, transposed, preferred_element_type=jnp.float32)
        powers = jnp.exp(jnp.minimum(logits - block_shift[:, None], _MOST_ABOVE_TARGET)).astype(table.dtype)
        sums = jnp.matmul(powers, with_ones, preferred_element_type=jnp.float32)
        normalizer = sums[:, features]
        rates = block_weights / normalizer
        scaled = (states.astype(jnp.float32) * rates[:, None]).astype(table.dtype)
        items_gradient = items_gradient + jnp.matmul(scaled.T, powers, preferred_element_type=jnp.float32)
        total = total + jnp.sum(block_weights * (block_shift + jnp.log(normalizer)))
        return (total, items_gradient), (sums[:, :features] * rates[:, None]).reshape(rows, width, features)

    start = (jnp.zeros(()), jnp.zeros((features, len(items))))
    (total, items_gradient), gradients = jax.lax.scan(
        add_block, start, (by_block(hidden), by_block(weights), by_block(shift))
    )
    hidden_gradient = jnp.moveaxis(gradients, 0, 1).reshape(hidden.shape)
    return total, (hidden_gradient.astype(hidden.dtype), items_gradient.T.astype(items.dtype))


def _partition_backward(gradients: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array | None, ...]:
    hidden, items = gradients
    return (cotangent * hidden).astype(hidden.dtype), (cotangent * items).astype(items.dtype), None, None


_partition.defvjp(_partition_forward, _partition_backward)


def _block_width(rows: int, places: int, num_items: int) -> int:
    """Returns the number of positions per row in one block: a divisor of `places`, the number of positions in a row."""
    budget = _BLOCK_BYTES.get(jax.default_backend(), _OTHER_BLOCK_BYTES)
    most = max(1, budget // (4 * rows * num_items))
    return max(width for width in range(1, places + 1) if places % width == 0 and width <= most)


def _blocks(values: jax.Array, width: int) -> jax.Array:
    """Reshapes `[B, P, ...]` to `[P / width, B, width, ...]`: a block has all rows, which are sharded over devices."""
    rows, places = values.shape[:2]
    return jnp.moveaxis(values.reshape(rows, places // width, width, *values.shape[2:]), 1, 0)
