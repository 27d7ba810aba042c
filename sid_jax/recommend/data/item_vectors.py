"""The vectors of a catalog's items, each item's its own, however the files are ordered."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from ml_collections import ConfigDict

from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from sid_jax.ids.convert import comparable


def content_vectors(data_config: ConfigDict, item_ids: np.ndarray, gone: np.ndarray | None = None) -> np.ndarray:
    """Returns what items are like, whether anybody has seen them or not: their vectors, without what histories say.

    Args:
      data_config: the quantizer's `data`.
      item_ids: `[N]` ids of the catalog; matched as text where one side has numbers and the other text.
      gone: `[N]` bool, items that need none any more; None for none of them.

    Returns:
      `[N, D]` float32, as they came; NaN for items that are gone and have none.

    Raises:
      UserError: if there are no vectors, or not of all items that are there.
    """
    settings = data_config.copy_and_resolve_references()
    # What histories say of items, they do not say of those that nobody has had.
    settings.histories.source = "none"
    data = load_vectors(settings)
    have, wanted = comparable(data.ids, item_ids)
    rows = pc.fill_null(pc.index_in(wanted, value_set=have), -1).to_numpy()
    missing = rows < 0 if gone is None else (rows < 0) & ~gone
    if missing.any():
        raise UserError(
            f"config.quantizer.data has no vector of {missing.sum()} of {len(item_ids)} items, the first is "
            f"{item_ids[missing].tolist()[0]!r}: name the vectors that the IDs were made from, and of new items theirs"
        )
    vectors = data.vectors[rows]
    vectors[rows < 0] = np.nan
    return vectors
