"""Whether a run is the one that an export was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sid_jax.append.published import Published
from sid_jax.errors import UserError
from sid_jax.export.files import model_hash
from sid_jax.training.restore import restore_model


def refuse_other_model(published: Published, workdir: Path, step: int | None) -> None:
    """Raises UserError unless a run's model, at the export's step or another one, is the export's to the last bit."""
    wanted = published.manifest.get("step") if step is None else step
    _, model, step = restore_model(workdir, wanted)
    if "renumbered" in published.manifest:
        model.quantizer.renumber([np.asarray(order) for order in published.manifest["renumbered"]["orders"]])
    found, published_hash = model_hash(model), model_hash(published.model)
    if found != published_hash:
        raise UserError(
            f"the model of {workdir} at step {step} (SHA-256 {found[:12]}) is not the one that {published.folder} was "
            f"made by ({published_hash[:12]}): its codes would mean something else; leave --workdir out, since the "
            "export has its own model, or name the run and --step that it came from"
        )
