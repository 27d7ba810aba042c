"""Finds a `JointQuantizer`'s parameters in the parameters of a larger model, or in the optimizer's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

from sid_jax.errors import UserError

# Key of the RQ-VAE in a tree of parameters. The RQ-VAE's parameters are found by this key in the tree of any model.
_NAME = "rqvae"
# Name of the optimizer's group for the parameters outside the RQ-VAE.
MODEL = "model"


def _own_names(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns a leaf's path in the RQ-VAE, such as `("encoder", "layers", 0, "kernel")`; () for a leaf outside it."""
    names = [getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", None))) for entry in path]
    if _NAME not in names:
        return ()
    own = names[names.index(_NAME) + 1 :]
    # A Flax variable is itself a node of the tree. The path of its array has one more entry, which is removed.
    return tuple(own[:-1] if isinstance(path[-1], jax.tree_util.GetAttrKey) else own)


def own_params(state: Any) -> dict[str, Any]:
    """Returns the quantizer's parameters from a tree, in the structure of `JointQuantizer.params`."""
    found: dict[tuple[Any, ...], Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        names = _own_names(path)
        if names in found:
            raise UserError("the state has the parameters of several quantizers; give the subtree of one quantizer")
        if names:
            found[names] = leaf
    if not found:
        raise UserError(f"the state has no {_NAME!r}; give JointQuantizer.params, or a tree that contains them")
    return {_NAME: flax.traverse_util.unflatten_dict(found)}


def replace_levels(tree: Any, replaced: Callable[[int, jax.Array], jax.Array]) -> Any:
    """Replaces each level's codebook by `replaced(level, codebook)`, in a tree of parameters.

    In an optimizer's state, the moments of the codebook are replaced in the same way.
    """

    def replace(path: tuple[Any, ...], leaf: Any) -> Any:
        names = _own_names(path)
        # An optimizer's state may also have scalars at the path of a codebook.
        return replaced(names[2], leaf) if names[:2] == ("quantizer", "levels") and jnp.ndim(leaf) == 2 else leaf

    return jax.tree_util.tree_map_with_path(replace, tree)


def groups_of(params: Any) -> Any:
    """Returns each parameter's group: "encoder", "quantizer" or "decoder", or "model" for all other parameters."""

    def group_of(path: tuple[Any, ...], _: Any) -> str:
        names = _own_names(path)
        return names[0] if names else MODEL

    return jax.tree_util.tree_map_with_path(group_of, params)
