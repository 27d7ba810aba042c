"""SimVQ: codebooks that are a frozen basis under one learned linear map (Zhu et al., 2411.02038, section 4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def transform_basis(basis: jax.Array, transform: jax.Array) -> jax.Array:
    """Returns the codebook `sg(C) W`: `[K, Z]` of a basis `[K, Z]` and a map `[Z, Z]`, which alone has a gradient.

    Every code that is taken moves W, and W moves every code, so that none is left behind.
    """
    return jnp.matmul(jax.lax.stop_gradient(basis), transform, precision=jax.lax.Precision.HIGHEST)


def basis_of(codewords: jax.Array, transform: jax.Array) -> jax.Array:
    """Returns the rows `[M, Z]` which `transform_basis` makes these codewords `[M, Z]` of, but for rounding.

    The map must be invertible; it starts as the identity.
    """
    return jnp.linalg.solve(transform.T, codewords.T).T
