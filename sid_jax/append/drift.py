"""Makes a version's drift report: how well the items of the input fit the model, and whether retraining is due."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from sid_jax.append.batch import Batch
from sid_jax.append.published import Published, raw_codes
from sid_jax.append.verdict import verdict
from sid_jax.append.version import Version
from sid_jax.distinct import distinct, is_among
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.relocate import tuple_keys
from sid_jax.metrics.codes import code_counts, code_figures
from sid_jax.metrics.crowding import remedy
from sid_jax.metrics.vectors import spread_by_part
from sid_jax.streams import stream_rng

_DRAWS = 100
# Maximum number of items that are decoded to measure how well their codes and IDs represent their vectors.
_SAMPLED_ITEMS = 2**16


@dataclasses.dataclass(frozen=True)
class Reference:
    """Metrics of the first version's items, with which the metrics of new items are compared.

    Attributes:
      r2: R^2 of the first version's items, relative to their mean.
      spread: mean squared distance of these items to their mean, summed over features.
      r2_cold: R^2 of cold items; None if there were none.
    """

    r2: float
    spread: float
    r2_cold: float | None


def drift_of(published: Published, version: Version) -> dict[str, Any]:
    """Returns the drift report of `version`, which follows the published version."""
    batch = version.new
    manifest, codes = published.export.manifest, raw_codes(published.items)
    sizes, reference = published.export.model.quantizer.codebook_sizes, reference_of(manifest)
    new_items = None
    if len(batch):
        semantic_ids = version.items.semantic_ids[version.added][:, : len(sizes)]
        fit = fit_of(reference, *_errors(published, batch, semantic_ids))
        taken = np.concatenate([codes, published.items.semantic_ids[:, : len(sizes)]])
        new_items = {
            "num_items": len(batch),
            **fit,
            "code_shift": code_shift(code_counts(batch.codes, sizes), code_counts(codes, sizes)),
            "collide": float(is_among(tuple_keys(batch.codes, sizes), distinct(tuple_keys(taken, sizes))).mean()),
            "relocated": float((semantic_ids != batch.codes).any(axis=1).mean()),
        }
    before = manifest.get("drift", {})
    drift = {
        "reference": None if reference is None else dataclasses.asdict(reference),
        "new_items": new_items,
        "known_items": _known_items(published, version, reference),
        "since_training": add_up(before.get("since_training"), len(batch), new_items),
        "fill": _fill(published, version),
    }
    metrics = {"num_items": len(version.items), **code_figures(raw_codes(version.items), sizes)}
    if published.scheme == "relocate":
        given = len(version.items) + len(version.retired) + len(version.former)
        drift["free"] = published.capacity * math.prod(sizes) - given
    judged = verdict(
        drift,
        len(version.items),
        number=published.number + 1,
        before=before.get("verdict"),
        remedy=remedy(metrics, sizes),
    )
    return {**drift, "verdict": judged}


def reference_of(manifest: Mapping[str, Any]) -> Reference | None:
    """Returns the reference from a manifest's drift report. Without a report, it is computed from the metrics.

    The result is None if the report has no reference, or the manifest lacks the metrics.
    """
    if "drift" in manifest:
        handed_on = manifest["drift"]["reference"]
        return None if handed_on is None else Reference(**handed_on)
    metrics, features = manifest.get("metrics", {}), manifest.get("data", {}).get("num_features")
    for r2, mse in (("r2", "mse"), ("r2_sampled", "mse_sampled")):
        if features and r2 in metrics and mse in metrics and metrics[mse] > 0 and metrics[r2] < 1:
            # R^2 is 1 - error / spread, so the spread is error / (1 - R^2).
            spread = metrics[mse] * features / (1 - metrics[r2])
            return Reference(metrics[r2], spread, metrics.get("r2_cold"))
    return None


def fit_of(reference: Reference | None, errors: np.ndarray, own_spread: float) -> dict[str, Any]:
    """Returns how well codes and IDs represent n items of the input, compared with the first version's items.

    R^2 is 1 - (mean squared error of the n items) / (spread of the first version's items). The R^2 of the reference has
    the same denominator, so the two values of R^2 differ only if the errors differ. Two other denominators would
    distort the comparison. The spread of the n items would make R^2 too low if the n items are similar to each other.
    The mean squared distance of the n items to the mean of the first version would make R^2 too high if the n items
    are far from this mean.

    Args:
      reference: metrics of the first version's items; None if they are unknown.
      errors: `[n, 2]`, squared errors of codes and of Semantic IDs, summed over features.
      own_spread: mean squared distance of the n items to their own mean; the denominator if there is no reference.
    """
    spread = (reference.spread if reference else own_spread) or 1.0
    r2, r2_unique = (1 - errors.mean(axis=0, dtype=np.float64) / spread).tolist()
    noise = float(errors[:, 0].std(dtype=np.float64)) / spread / np.sqrt(len(errors))
    own = 1 - float(errors[:, 0].mean(dtype=np.float64)) / own_spread if own_spread > 0 else None
    return {"r2": r2, "r2_unique": r2_unique, "r2_standard_error": float(noise), "r2_own_mean": own}


def code_shift(new: Sequence[np.ndarray], old: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """Returns, for each level, the distance between the code distributions of new and old items, from counts `[K]`.

    "distance" is the Jensen-Shannon distance in base 2: 0 for equal distributions, 1 for no common code. "by_chance" is
    the 99th percentile of this distance for random samples from the old distribution. Each sample has as many items as
    there are new items.
    """
    random, found = stream_rng(0, "code_shift"), []
    for ours, theirs in zip(new, old, strict=True):
        draws = random.multinomial(int(ours.sum()), theirs / theirs.sum(), _DRAWS)
        by_chance = [_distance(draw, theirs) for draw in draws]
        found.append({"distance": _distance(ours, theirs), "by_chance": float(np.quantile(by_chance, 0.99))})
    return found


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    # For equal distributions, rounding can make the divergence negative. SciPy then returns NaN as its square root.
    return float(np.nan_to_num(scipy.spatial.distance.jensenshannon(one, other, 2)))


def add_up(before: Mapping[str, Any] | None, num_added: int, new_items: Mapping[str, float] | None) -> dict[str, Any]:
    """Returns metrics of the items added since training: number, R^2, and the share whose IDs differ from their codes.

    R^2 and the share are computed from the values of the previous version and of the new items. They are None if there
    are no items.
    """
    num_before = before["num_items"] if before else 0
    total, found = num_before + num_added, {}
    for name in ("r2", "relocated"):
        earlier = (before.get(name) if before else 0.0) or 0.0
        new = new_items[name] if new_items else 0.0
        found[name] = (num_before * earlier + num_added * new) / total if total else None
    return {"num_items": total, **found}


def _known_items(published: Published, version: Version, reference: Reference | None) -> dict[str, Any] | None:
    """Returns how well the IDs of known and returned items represent their vectors; None if there are no such items."""
    if not len(version.known):
        return None
    levels = len(published.export.model.quantizer.codebook_sizes)
    semantic_ids = version.items.semantic_ids[version.known_rows][:, :levels]
    fit = fit_of(reference, *_errors(published, version.known, semantic_ids))
    return {"num_items": len(version.known), "changed": version.counts["changed"], **fit}


def _errors(published: Published, batch: Batch, semantic_ids: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns, for a sample of a batch, the squared errors `[n, 2]` of codes and IDs, and the spread of the vectors.

    The spread is the mean squared distance of the vectors to their mean.
    """
    every = max(1, -(-len(batch) // _SAMPLED_ITEMS))
    rows = np.arange(0, len(batch), every)
    tuples = np.stack([batch.codes[rows], semantic_ids[rows]], axis=1).astype(np.int32)
    errors = CodeAlternatives.of_vectors(published.export.model, batch.vectors).costs(rows, tuples)
    return errors, float(spread_by_part(batch.vectors[rows], published.export.model.scaling).sum()) / len(rows)


def _fill(published: Published, version: Version) -> float:
    """Returns the share of all possible IDs that are in use, or reserved as retired or former IDs.

    Without relocation, it returns the share of all possible code tuples that current or removed items have.
    """
    levels = published.export.model.quantizer.codebook_sizes
    if published.scheme == "relocate":
        return (len(version.items) + len(version.retired) + len(version.former)) / (
            published.capacity * math.prod(levels)
        )
    codes = np.concatenate([raw_codes(version.items), raw_codes(version.retired)])
    return len(distinct(tuple_keys(codes, levels))) / math.prod(levels)
