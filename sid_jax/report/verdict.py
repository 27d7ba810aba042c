"""Makes the verdict of a report: a grade for each metric, by the thresholds in docs/report.md, and a summary."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from sid_jax.wording import counted

Grade = Literal["good", "fair", "weak", "none"]

# Each metric has two thresholds. From the first threshold upward, a value is good; from the second upward, it is fair.
# Any lower value is weak.
_OWN_CODES = (0.90, 0.75)
_USAGE = (0.95, 0.80)
_BELOW_YARDSTICK = (-0.01, -0.05)
_AGREEMENT = (0.999, 0.98)
_COLD_ITEMS = (0.75, 0.50)
_EVENNESS = (0.50, 0.25)
# Thresholds for the change of R^2 that relocation causes.
_COST_OF_MOVES = (-0.01, -0.03)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One metric of the report, presented as a question and its answer.

    Attributes:
      question: a short question, used as the title.
      value: the value of the metric, as text.
      beside: what the metric measures, and a value to compare it with.
      grade: "good", "fair" or "weak"; "none" for a metric that is not graded.
      remedy: what to do if the grade is not good.
    """

    question: str
    value: str
    beside: str
    grade: Grade
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict at the top of the report.

    Attributes:
      grade: the lowest grade of the metrics.
      headline: the verdict in a few words.
      summary: two or three sentences with the most important metrics.
      figures: all metrics.
    """

    grade: Grade
    headline: str
    summary: str
    figures: list[Figure]


def verdict(manifest: dict[str, Any], measured: dict[str, Any]) -> Verdict:
    """Returns the verdict on an export, from its manifest and the content of `report.json`."""
    figures = [
        _unique(manifest),
        _own_codes(manifest),
        _kept(manifest, measured),
        _usage(manifest),
        _evenness(manifest),
        _moved(manifest),
        *_same_codes(manifest),
        *_cold_items(manifest),
        *_appended(manifest),
    ]
    fair, weak = ([each for each in figures if each.grade == grade] for grade in ("fair", "weak"))
    grade: Grade = "weak" if weak else "fair" if fair else "good"
    return Verdict(grade, _headline(fair, weak), _summary(manifest, measured), figures)


def percent(share: float) -> str:
    """Formats a share as a percentage, rounded down, so that 100 % means all."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", "\u00a0%")
    shown = math.floor(share * 1000 + 1e-9) / 10
    return f"{shown:.1f}\u00a0%" if shown else "under 0.1\u00a0%"


def _headline(fair: list[Figure], weak: list[Figure]) -> str:
    if weak:
        return f"These IDs have {counted(len(weak), 'weak metric')}"
    if fair:
        return f"Good IDs, with {counted(len(fair), 'metric')} to watch"
    return "These IDs are good"


def _summary(manifest: dict[str, Any], measured: dict[str, Any]) -> str:
    metrics, made = manifest["metrics"], manifest["semantic_ids"]
    length = f"of {made['length']} codes"
    have = f"IDs {length}, which several items may share" if _shared(manifest) else f"one ID each, {length}"
    words = [f"{metrics['num_items']:,} items have {have}."]
    r2 = _r2(manifest)
    if r2 is not None:
        kept = f"An ID keeps {percent(max(r2, 0))} of the variance of the item vectors"
        yardstick = _yardstick(measured)
        beside = (
            ""
            if yardstick is None
            else (f"; residual k-means with the same number of codes keeps {percent(yardstick)}")
        )
        words.append(f"{kept}{beside}.")
    usage = min(metrics["usage"])
    words.append(
        "Every code is in use."
        if usage == 1
        else (f"At the level with the lowest usage, {percent(usage)} of the codes are in use.")
    )
    return " ".join(words)


def _shared(manifest: dict[str, Any]) -> bool:
    made = manifest["semantic_ids"]
    return made["scheme"] == "none" or made.get("capacity", 1) > 1


def _unique(manifest: dict[str, Any]) -> Figure:
    metrics, made = manifest["metrics"], manifest["semantic_ids"]
    scheme, question = made["scheme"], "Does every item have its own ID?"
    if not _shared(manifest):
        beside = f"of {metrics['num_items']:,} items have an ID that no other item has (scheme: {scheme})"
        return Figure(question, "100 %", beside, "good")
    if scheme != "none":
        beside = "items may have the same ID, since IDs have a capacity above 1 (ids.capacity)"
        return Figure(question, f"up to {made['capacity']}", beside, "none")
    beside = "of the items have an ID that no other item has; this export allows several items to have the same ID"
    return Figure(question, percent(1 - metrics["collision_share"]), beside, "none")


def _own_codes(manifest: dict[str, Any]) -> Figure:
    metrics = manifest["metrics"]
    most = metrics.get("max_distinct_rate", 1.0)
    ceiling = f"; at most {percent(most)} is possible, since some vectors are equal" if most < 1 else ""
    beside = (
        f"distinct code tuples per item, before IDs are made unique{ceiling}. The most common code tuple has "
        f"{counted(metrics['largest_bucket'], 'item')}"
    )
    remedy = "more codes per level (model.codebook_size), one more level, more latent features, or a longer run"
    grade = _at_least(metrics["distinct_rate"] / most, _OWN_CODES)
    return Figure("Can the model distinguish items?", percent(metrics["distinct_rate"]), beside, grade, remedy)


def _r2(manifest: dict[str, Any]) -> float | None:
    metrics = manifest["metrics"]
    return metrics.get("r2_unique", metrics.get("r2", metrics.get("r2_sampled")))


def _yardstick(measured: dict[str, Any]) -> float | None:
    found = measured.get("fidelity", {}).get("kmeans_r2")
    return found[-1] if found else None


def _kept(manifest: dict[str, Any], measured: dict[str, Any]) -> Figure:
    question, r2, yardstick = "How much of the vector does an ID keep?", _r2(manifest), _yardstick(measured)
    remedy = "a longer run, a residual encoder (configs/embeddings.py), or more codes or levels"
    if r2 is None:
        return Figure(question, "not measured", "the export has no R²", "none")
    if yardstick is None:
        return Figure(question, percent(max(r2, 0)), "of the vectors' variance (R²)", "none")
    beside = f"of the vectors' variance (R²); residual k-means with the same number of codes: {percent(yardstick)}"
    return Figure(question, percent(max(r2, 0)), beside, _at_least(r2 - yardstick, _BELOW_YARDSTICK), remedy)


def _usage(manifest: dict[str, Any]) -> Figure:
    metrics = manifest["metrics"]
    sizes, num_items = metrics["codebook_size"], metrics["num_items"]
    # Usage is graded relative to its maximum, since N items cannot use more than N codes.
    possible = [used / min(1.0, num_items / size) for used, size in zip(metrics["usage"], sizes, strict=True)]
    each = " · ".join(percent(used) for used in metrics["usage"])
    remedy = "more frequent resets of dead codes (train.revive_every_epochs), a longer run, or fewer codes per level"
    beside = f"of the codes at the level with the lowest usage; by level: {each}"
    return Figure(
        "Are all codes in use?", percent(min(metrics["usage"])), beside, _at_least(min(possible), _USAGE), remedy
    )


def _evenness(manifest: dict[str, Any]) -> Figure:
    metrics = manifest["metrics"]
    most = min(metrics["codebook_size"][0], metrics["num_items"])
    share = metrics["perplexity"][0] / most
    beside = f"of the highest possible perplexity of level 1 ({metrics['perplexity'][0]:,.0f} of {most:,})"
    remedy = "more evenly distributed vectors (data.standardize=feature), or a longer run"
    return Figure("Are the codes used evenly?", percent(share), beside, _at_least(share, _EVENNESS), remedy)


def _moved(manifest: dict[str, Any]) -> Figure:
    metrics, made, question = manifest["metrics"], manifest["semantic_ids"], "How many items were relocated?"
    if made["scheme"] != "relocate":
        return Figure(
            question, "none", f"with the scheme “{made['scheme']}” each ID begins with the item's code tuple", "none"
        )
    beside = "of the items got a nearby code tuple, since their own tuple belongs to another item"
    if "r2_unique" not in metrics or "r2" not in metrics:
        return Figure(question, percent(made["relocated"]), beside, "none")
    cost = max(metrics["r2"] - metrics["r2_unique"], 0)
    beside += f"; this lowers R² by {cost:.3f}"
    remedy = "more codes, more levels or a longer run, since fewer collisions need fewer relocations"
    return Figure(question, percent(made["relocated"]), beside, _at_least(-cost, _COST_OF_MOVES), remedy)


def _same_codes(manifest: dict[str, Any]) -> list[Figure]:
    metrics = manifest["metrics"]
    if "agreement" not in metrics:
        return []
    beside = "of the items have the same codes in the export and in a training step at the end of the run"
    if metrics.get("near_ties"):
        beside += f"; for {percent(metrics['near_ties'])} of the items, rounding may decide between two codes"
    remedy = (
        "a schedule in which noise and temperature reach their minimum, or a longer time with a frozen encoder "
        "(train.settle_share)"
    )
    grade = _at_least(metrics["agreement"], _AGREEMENT)
    return [
        Figure("Do the exported codes equal the training codes?", percent(metrics["agreement"]), beside, grade, remedy)
    ]


def _cold_items(manifest: dict[str, Any]) -> list[Figure]:
    metrics = manifest["metrics"]
    if "r2_cold" not in metrics:
        return []
    beside = (
        f"of the variance (R²) of {counted(manifest['data']['num_cold'], 'cold item')}, which were excluded from "
        f"training; {percent(max(metrics['r2'], 0))} for all items"
    )
    remedy = "more train.augmentation or model.dropout, or a smaller network, since the model memorizes training items"
    grade = _at_least(metrics["r2_cold"] / max(metrics["r2"], 1e-9), _COLD_ITEMS)
    return [Figure("Do cold items get good codes?", percent(max(metrics["r2_cold"], 0)), beside, grade, remedy)]


def _appended(manifest: dict[str, Any]) -> list[Figure]:
    drift = manifest.get("drift", {})
    new, judged = drift.get("new_items"), drift.get("verdict", {})
    due = judged.get("retraining_is_due", False)
    if not new and due:
        return [
            Figure(
                "Do the items added since training fit?",
                "no",
                "retraining has been due since an earlier version",
                "fair",
                judged.get("remedy") or "",
            )
        ]
    if not new:
        return []
    beside = f"of the variance of the {new['num_items']:,} new items of this version (R²)"
    reasons = [each["what"] for each in judged.get("standing", judged["checks"]) if each.get("due", True)]
    remedy = f"retrain, because of: {', '.join(reasons)}"
    value = percent(max(new["r2_unique"], 0))
    return [Figure("Do the new items fit?", value, beside, "fair" if due else "good", remedy)]


def _at_least(value: float, thresholds: tuple[float, float]) -> Grade:
    good, fair = thresholds
    return "good" if value >= good else "fair" if value >= fair else "weak"
