"""Codes as tokens of a model that has embeddings of its own for them, with gradients to both sides."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def code_embeddings(weights: Sequence[jax.Array], tables: Sequence[jax.Array]) -> jax.Array:
    """Returns the embedding of an item's code at each level: `[..., L, F]`, in the type of the tables.

    It is the product of an assignment with a table: a look-up, bit for bit, where the assignment is one-hot, and a
    mixture of embeddings where it is soft. Unlike a look-up it has gradients to both: the table learns what a code
    means to the model, and the quantizer which code would have served the model better. So the quantizer is trained
    inside the model: by the straight-through estimator; with noise on the choice that falls to 0, which keeps codes in
    use until they have found their place (Fu et al., DIGER, 2601.19711); or by mixtures whose temperature falls (Li et
    al., UniGRec, 2601.17438).

    Args:
      weights: for each of the L levels `[..., K]`, `QuantizerOutput.weights`; of which kind they are, the quantizer's
        method, `hard` and noise say.
      tables: for each level `[K, F]`, parameters of the model.

    Raises:
      ValueError: if a table has not as many rows as its level has codes, or there are not L tables.
    """
    if [len(table) for table in tables] != [level.shape[-1] for level in weights]:
        raise ValueError(
            f"the tables have {[len(table) for table in tables]} rows, the levels "
            f"{[level.shape[-1] for level in weights]} codes"
        )
    pairs = zip(weights, tables, strict=True)
    # At the highest precision a one-hot row's product is the table's row itself, on every device.
    products = [
        jnp.matmul(level.astype(table.dtype), table, precision=jax.lax.Precision.HIGHEST) for level, table in pairs
    ]
    return jnp.stack(products, axis=-2)
