"""Items that are to be found cold, drawn for a test and written down, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.histories import keep_active
from sid_jax.data.load import load_histories, load_vectors
from sid_jax.errors import UserError
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.recommend.config import MADE_IDS
from sid_jax.recommend.data.quantizer import quantizer_config
from sid_jax.recommend.data.split import choose_cold_items


def draw_cold_items(config: ConfigDict, amount: float) -> int:
    """Writes items to be held out of all training into the file `config.data.cold_items`, one id a line.

    They are a function of the histories and of `config.seed`. No IDs need be there yet: of those that are made on the
    way, the catalog is that of `config.quantizer.data`.

    Args:
      config: as from `sid_jax.recommend.config`.
      amount: as of `choose_cold_items`.

    Returns:
      How many there are.

    Raises:
      UserError: if the file has no name or is there already, or the data cannot be used.
    """
    if not config.data.cold_items:
        raise UserError("--draw_cold needs a file to write to: --config.data.cold_items=cold.txt")
    path = Path(config.data.cold_items).expanduser()
    item_ids = _catalog(config)
    histories = keep_active(
        load_histories(
            config.data, item_ids, where="config.data", cache_dir=config.data.cache_dir, core=config.data.core
        ),
        config.data.min_interactions,
    )
    cold = choose_cold_items(histories, amount, config.seed)
    try:
        # Refused where it is there, so that nobody's list is lost.
        with path.open("x", encoding="utf-8") as file:
            file.write("".join(f"{item}\n" for item in item_ids[cold].tolist()))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from error
    return int(cold.sum())


def _catalog(config: ConfigDict) -> np.ndarray:
    if config.ids == "rqvae" or config.ids in MADE_IDS:
        settings = quantizer_config(config).data
        settings.cold_items = ""  # which is yet to be drawn
        settings.histories.source = "none"
        return load_vectors(settings).ids
    path, offset = parse_id_source(config.ids)
    return read_id_table(path, offset).item_ids
