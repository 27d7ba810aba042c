"""What a version's manifest says of its codes, of how its new items fit the model, and of when to train anew."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon

from sid_jax.append.batch import Batch
from sid_jax.append.published import Published, raw_codes
from sid_jax.append.version import Version
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.relocate import tuple_keys
from sid_jax.metrics.codes import code_counts
from sid_jax.metrics.vectors import spread_by_part
from sid_jax.streams import stream_rng

# Retraining is due if one of these is passed. Where each comes from is said in docs/daily-updates.md.
# R^2 that the catalog has lost, since training, by items that fit less well than those trained on.
CATALOG_R2_LOST = 0.02
# R^2 of new items below that of cold items, which the model has not trained on.
BELOW_COLD = 0.05
# The same below that of items trained on, where there were no cold items.
BELOW_TRAINED = 0.20
# Jensen-Shannon distance of the new items' first codes from the old ones', above what chance gives.
CODE_SHIFT = 0.10
# Share of the new items that got another tuple than their codes.
MOVED = 0.50

_DRAWS = 100
# New items decoded to see how well codes serve.
_SAMPLED_ITEMS = 2**16


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the model was worth on the items of the first version, which is what new ones are measured by.

    Attributes:
      r2: R^2 of those items, against their mean.
      spread: their mean squared distance to that mean, summed over features.
      r2_cold: R^2 of cold items; None without any.
    """

    r2: float
    spread: float
    r2_cold: float | None


def drift_of(published: Published, version: Version) -> dict[str, Any]:
    """Returns the drift report of the version after a published one."""
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
            "collide": float(np.isin(tuple_keys(batch.codes, sizes), tuple_keys(taken, sizes)).mean()),
            "moved": float((semantic_ids != batch.codes).any(axis=1).mean()),
        }
    before = manifest.get("drift", {}).get("since_training")
    drift = {
        "reference": None if reference is None else dataclasses.asdict(reference),
        "new_items": new_items,
        "since_training": add_up(before, len(batch), new_items["r2"] if new_items else 0.0),
        "fill": _fill(published, version),
    }
    return {**drift, "verdict": verdict(drift, len(version.items))}


def reference_of(manifest: Mapping[str, Any]) -> Reference | None:
    """Returns the reference that a version's manifest hands on, or a first one's figures; None if it has none."""
    if "drift" in manifest:
        handed_on = manifest["drift"]["reference"]
        return None if handed_on is None else Reference(**handed_on)
    metrics, features = manifest.get("metrics", {}), manifest.get("data", {}).get("num_features")
    for r2, mse in (("r2", "mse"), ("r2_sampled", "mse_sampled")):
        if features and r2 in metrics and mse in metrics and metrics[mse] > 0 and metrics[r2] < 1:
            # R^2 is 1 - error / spread.
            spread = metrics[mse] * features / (1 - metrics[r2])
            return Reference(metrics[r2], spread, metrics.get("r2_cold"))
    return None


def fit_of(reference: Reference | None, errors: np.ndarray, own_spread: float) -> dict[str, Any]:
    """Returns how well new items are served, in the reference's terms.

    R^2 is 1 - (the new items' mean squared error) / (the spread of the items of the first version). With one
    denominator for both, two R^2 differ if and only if the errors do: a batch of one kind of items, whose own spread is
    small, does not look worse for it, and one that lies far from all others does not look better. Errors are `[n, 2]`,
    squared and summed over features, of codes and of Semantic IDs. `own_spread`, the new items' mean squared distance
    to their own mean, takes the reference's place where there is none.
    """
    spread = (reference.spread if reference else own_spread) or 1.0
    r2, r2_unique = (1 - errors.mean(axis=0, dtype=np.float64) / spread).tolist()
    noise = float(errors[:, 0].std(dtype=np.float64)) / spread / np.sqrt(len(errors))
    own = 1 - float(errors[:, 0].mean(dtype=np.float64)) / own_spread if own_spread > 0 else None
    return {"r2": r2, "r2_unique": r2_unique, "r2_standard_error": float(noise), "r2_own_mean": own}


def code_shift(new: Sequence[np.ndarray], old: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """Returns for each level how far the new items' codes are from the old ones', of counts `[K]` for each level.

    "distance" is the Jensen-Shannon distance (base 2: 0 for the same shares, 1 for no code in common), and "by_chance"
    what 99 of 100 draws of as many items from the old ones stay below.
    """
    random, found = stream_rng(0, "code_shift"), []
    for ours, theirs in zip(new, old, strict=True):
        draws = random.multinomial(int(ours.sum()), theirs / theirs.sum(), _DRAWS)
        by_chance = [_distance(draw, theirs) for draw in draws]
        found.append({"distance": _distance(ours, theirs), "by_chance": float(np.quantile(by_chance, 0.99))})
    return found


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    # Of equal shares rounding makes the root of a number just below 0.
    return float(np.nan_to_num(jensenshannon(one, other, 2)))


def add_up(before: Mapping[str, Any] | None, num_added: int, r2: float) -> dict[str, Any]:
    """Returns how many items came since training, and their R^2, from the last version's sum and the new items'."""
    num_before, r2_before = (before["num_items"], before["r2"] or 0.0) if before else (0, 0.0)
    total = num_before + num_added
    return {"num_items": total, "r2": (num_before * r2_before + num_added * r2) / total if total else None}


def verdict(drift: Mapping[str, Any], num_items: int) -> dict[str, Any]:
    """Returns "retraining_is_due", and "checks": of each "what", "value", "threshold" and "due".

    Args:
      drift: "reference", "new_items" (None for none) and "since_training".
      num_items: of the version, all together.
    """
    reference, new, since = drift["reference"], drift["new_items"], drift["since_training"]
    checks: list[dict[str, Any]] = []

    def check(what: str, value: float, threshold: float) -> None:
        checks.append({"what": what, "value": value, "threshold": threshold, "due": bool(value > threshold)})

    if reference and since["num_items"]:
        share = min(1.0, since["num_items"] / num_items)
        check("R^2 that the catalog lost since training", share * (reference["r2"] - since["r2"]), CATALOG_R2_LOST)
    if reference and new:
        # What the draw of the items may have made of it is no reason.
        least = new["r2"] + 2 * new["r2_standard_error"]
        if reference["r2_cold"] is None:
            check("R^2 of new items below those trained on", reference["r2"] - least, BELOW_TRAINED)
        else:
            check("R^2 of new items below cold items", reference["r2_cold"] - least, BELOW_COLD)
    if new:
        first = new["code_shift"][0]
        check("shift of the first codes above chance", first["distance"] - first["by_chance"], CODE_SHIFT)
        check("share of new items that got others than their codes", new["moved"], MOVED)
    return {"retraining_is_due": any(each["due"] for each in checks), "checks": checks}


def in_words(drift: Mapping[str, Any]) -> list[str]:
    """Returns the report as lines."""
    reference, new = drift["reference"], drift["new_items"]
    lines = []
    if new:
        of_old = f", {reference['r2']:.3f} of the items trained on" if reference else ""
        cold = reference and reference["r2_cold"]
        of_old += f", {cold:.3f} of cold items" if cold is not None else ""
        lines.append(
            f"R^2 of the new items: {new['r2']:.3f} by their codes, {new['r2_unique']:.3f} by their IDs{of_old}"
        )
        shift = ", ".join(f"{level['distance']:.2f} ({level['by_chance']:.2f})" for level in new["code_shift"])
        lines.append(f"their codes' distance from the old ones', level by level (by chance): {shift}")
        lines.append(
            f"{new['collide']:.1%} have the codes of a published item, {new['moved']:.1%} got others; "
            f"{drift['fill']:.2%} of all IDs are in use or kept"
        )
    due = [each for each in drift["verdict"]["checks"] if each["due"]]
    reasons = "; ".join(f"{each['what']} is {each['value']:.3f}, more than {each['threshold']:.2f}" for each in due)
    lines.append(f"Retraining is due: {reasons}." if due else "Retraining is not due.")
    return lines


def _errors(published: Published, batch: Batch, semantic_ids: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns squared errors `[n, 2]` of codes and IDs, and the mean squared distance to the mean: of a sample."""
    every = max(1, -(-len(batch) // _SAMPLED_ITEMS))
    rows = np.arange(0, len(batch), every)
    tuples = np.stack([batch.codes[rows], semantic_ids[rows]], axis=1).astype(np.int32)
    errors = CodeAlternatives(published.export.model, batch.vectors).costs(rows, tuples)
    return errors, float(spread_by_part(batch.vectors[rows], published.export.model.scaling).sum()) / len(rows)


def _fill(published: Published, version: Version) -> float:
    """Returns the share of all Semantic IDs that are in use or kept."""
    levels = published.export.model.quantizer.codebook_sizes
    if published.scheme == "relocate":
        return (len(version.items) + len(version.retired)) / (published.capacity * math.prod(levels))
    codes = np.concatenate([raw_codes(version.items), raw_codes(version.retired)])
    return len(np.unique(tuple_keys(codes, levels))) / math.prod(levels)
