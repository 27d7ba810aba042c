"""Derives L, the number of levels, and K, the number of codes per level, if their settings are "auto"."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from sid_jax.errors import UserError
from sid_jax.settings import AUTO

# Minimum number of possible code tuples per item, with 256 codes per level. Items are spread unevenly over the tuples.
# With fewer tuples, more than a tenth of the items would be relocated, even in catalogs without dense clusters. The ID
# of a relocated item describes the item less well than the item's code tuple does (docs/scale.md). For catalogs with
# dense clusters, `level_choice` adds levels.
_TUPLES_PER_ITEM = 400
FEWEST_LEVELS = 3
_MOST_CODES = 256
# Minimum number of items per code of a level. Each codeword is then the mean of several residuals.
_ITEMS_PER_CODE = 8
# Minimum number of possible code tuples per item in a small catalog, so that each relocated item has a free tuple near
# its own.
_FEWEST_TUPLES_PER_ITEM = 4


def with_sizes(config: ConfigDict, num_items: int) -> ConfigDict:
    """Returns a config in which `model.num_levels` (L) and `model.codebook_size` (K) are numbers instead of "auto".

    The automatic L is the smallest number of levels, at least 3, that gives at least 400 possible code tuples per item
    of the catalog at 256 codes per level. The catalog has `data.catalog_size` items or, if this setting is 0, as many
    items as the data. If `model.codebook_size` has one number per level, L is the number of these numbers.

    The automatic K depends on the number N of items in the data, `num_items`. K is 256 if N is 2,048 or more. For a
    smaller N, K is the largest power of two that is at most N / 8. If this K gives fewer than 4 possible code tuples
    per item, a larger power of two is chosen. K is never above 256 or N.

    Raises:
      UserError: if the data have more items than the catalog.
    """
    levels, size = config.model.num_levels, config.model.codebook_size
    if AUTO not in (levels, size):
        return config
    if levels == AUTO:
        levels = len(size) if isinstance(size, (tuple, list)) else _levels(catalog_size(config, num_items))
    if size == AUTO:
        size = _codes(num_items, levels)
    config = config.copy_and_resolve_references()
    with config.ignore_type():
        config.model.num_levels, config.model.codebook_size = levels, size
    return config


def catalog_size(config: ConfigDict, num_items: int) -> int:
    """Returns the number of items in the catalog, of which the data have `num_items`; see `data.catalog_size`."""
    size: int = config.data.catalog_size or num_items
    if size < num_items:
        raise UserError(
            f"config.data.catalog_size is {size:,}, but the data have {num_items:,} items; it is the number of items "
            "in the whole catalog, of which the data are a sample"
        )
    return size


def _codes(num_items: int, num_levels: int) -> int:
    needed = math.ceil((_FEWEST_TUPLES_PER_ITEM * num_items) ** (1 / num_levels))
    below = 1 << max(1, (num_items // _ITEMS_PER_CODE).bit_length() - 1)
    return min(num_items, _MOST_CODES, max(below, 1 << (needed - 1).bit_length()))


def _levels(num_items: int) -> int:
    needed = math.log(_TUPLES_PER_ITEM * num_items) / math.log(_MOST_CODES)
    return max(FEWEST_LEVELS, math.ceil(needed))
