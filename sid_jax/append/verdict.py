"""When to train anew: a verdict on the items that came since training, which holds from version to version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
# Share of all IDs that are in use or kept, where there are no others.
FILL = 0.90
# Fewer new items say nothing by themselves, but count among those since training.
_FEWEST = 10

# Why a threshold is passed: the items are others than those trained on, or there are too few codes.
_DRIFT, _CROWDED = "drift", "crowded"


def verdict(
    drift: Mapping[str, Any],
    num_items: int,
    *,
    number: int = 2,
    before: Mapping[str, Any] | None = None,
    remedy: str = "more levels or codes",
) -> dict[str, Any]:
    """Returns whether retraining is due, why, and what it comes to.

    A reason stands until the catalog is trained on anew: a night without new items does not make up for it.

    Args:
      drift: "reference", "new_items" (None for none), "since_training", "fill" and, where IDs can run out, "free".
      num_items: of the version, all together.
      number: of the version.
      before: the verdict of the version before; None for none.
      remedy: the settings that would give a crowded table enough codes.

    Returns:
      retraining_is_due: whether there is a standing reason;
      due_since: the version of the first one, or None;
      checks: of this version, of each "what", "value", "threshold", "due" and "cause", "drift" or "crowded";
      standing: those that are due, here or in a version before, of each "what", "value", "threshold", "cause", and
        "version", the first in which it was due, with the largest value since;
      remedy: what to do, in words, or None;
      r2_to_gain: R^2 that the catalog has lost since training, which training anew can bring back at most, or None;
      ids_to_change: how many IDs training anew changes at most: all;
      new_items_until_due: how many more items such as those since training until the lost R^2 makes retraining due;
        None if it never does, or is due.
    """
    checks = _checks(drift, num_items)
    earlier = _standing(before, number - 1)
    standing = {each["what"]: each for each in earlier}
    for check in checks:
        if check["due"]:
            was = standing.get(check["what"], {"value": check["value"], "version": number})
            value = max(was["value"], check["value"])
            about = {name: check[name] for name in ("what", "threshold", "cause")}
            standing[check["what"]] = {**about, "value": value, "version": was["version"]}
    reasons = list(standing.values())
    lost = _lost(drift, num_items)
    return {
        "retraining_is_due": bool(reasons),
        "due_since": min((each["version"] for each in reasons), default=None),
        "checks": checks,
        "standing": reasons,
        "remedy": _remedy({each["cause"] for each in reasons}, num_items, lost, remedy) if reasons else None,
        "r2_to_gain": lost,
        "ids_to_change": num_items,
        "new_items_until_due": None if reasons else _until_due(drift, num_items),
    }


def in_words(drift: Mapping[str, Any]) -> list[str]:
    """Returns a drift report as lines, of which the last is the verdict."""
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
    judged = drift["verdict"]
    if until := judged.get("new_items_until_due"):
        lines.append(f"Retraining pays off after about {until:,} more such items")
    return [*lines, _last_line(judged)]


def _last_line(judged: Mapping[str, Any]) -> str:
    reasons = judged.get("standing") or [each for each in judged["checks"] if each["due"]]
    if not reasons:
        return "Retraining is not due."
    words = "; ".join(f"{each['what']} is {each['value']:.3f}, more than {each['threshold']:.2f}" for each in reasons)
    since = f" (since version {judged['due_since']})" if judged.get("due_since") else ""
    return f"Retraining is due: {words}{since}.{' ' * bool(judged.get('remedy'))}{judged.get('remedy') or ''}"


def _checks(drift: Mapping[str, Any], num_items: int) -> list[dict[str, Any]]:
    reference, new, since = drift["reference"], drift["new_items"], drift["since_training"]
    checks: list[dict[str, Any]] = []

    def check(what: str, value: float, threshold: float, cause: str) -> None:
        due = bool(value > threshold)
        checks.append({"what": what, "value": value, "threshold": threshold, "due": due, "cause": cause})

    lost = _lost(drift, num_items)
    if lost is not None:
        check("R^2 that the catalog lost since training", lost, CATALOG_R2_LOST, _DRIFT)
    enough = new is not None and new.get("num_items", _FEWEST) >= _FEWEST
    if reference and enough:
        # What the draw of the items may have made of it is no reason.
        least = new["r2"] + 2 * new["r2_standard_error"]
        if reference["r2_cold"] is None:
            check("R^2 of new items below those trained on", reference["r2"] - least, BELOW_TRAINED, _DRIFT)
        else:
            check("R^2 of new items below cold items", reference["r2_cold"] - least, BELOW_COLD, _DRIFT)
    if new:
        first = new["code_shift"][0]
        check("shift of the first codes above chance", first["distance"] - first["by_chance"], CODE_SHIFT, _DRIFT)
    if enough:
        check("share of new items that got others than their codes", new["moved"], MOVED, _CROWDED)
    if since["num_items"] >= _FEWEST and since.get("moved") is not None:
        what = "share of the items since training that got others than their codes"
        check(what, since["moved"], MOVED, _CROWDED)
    if drift.get("free") is not None:
        check("share of all IDs that are in use or kept", drift["fill"], FILL, _CROWDED)
    return checks


def _standing(before: Mapping[str, Any] | None, number: int) -> list[dict[str, Any]]:
    """Returns the standing reasons of the verdict of the version before, which may have none written down."""
    if before is None:
        return []
    if "standing" in before:
        return list(before["standing"])
    names = ("what", "value", "threshold")
    due = [each for each in before["checks"] if each["due"]]
    cause = {True: _CROWDED, False: _DRIFT}
    return [
        {**{name: each[name] for name in names}, "cause": cause["others than" in each["what"]], "version": number}
        for each in due
    ]


def _lost(drift: Mapping[str, Any], num_items: int) -> float | None:
    """Returns the R^2 that the catalog has lost since training; None if it is not known."""
    reference, since = drift["reference"], drift["since_training"]
    if not reference or not since["num_items"]:
        return None
    return min(1.0, since["num_items"] / num_items) * (reference["r2"] - since["r2"])


def _until_due(drift: Mapping[str, Any], num_items: int) -> int | None:
    reference, since = drift["reference"], drift["since_training"]
    if not reference or since["num_items"] < _FEWEST:
        return None
    gap = reference["r2"] - since["r2"]
    if gap <= CATALOG_R2_LOST:
        return None
    # Of the catalog the share of the items since training is to be the threshold by the gap.
    share, old = CATALOG_R2_LOST / gap, max(num_items - since["num_items"], 0)
    return max(1, round(old * share / (1 - share)) - since["num_items"])


def _remedy(causes: set[str], num_items: int, lost: float | None, settings: str) -> str:
    gain = f", which brings the catalog at most {lost:.3f} of R^2" if lost is not None and lost > 0 else ""
    changes = f"changes up to {num_items:,} IDs (nearly all, also with --align_to)"
    if _CROWDED in causes:
        return (
            f"The table is crowded: the same settings will not help. Train anew on all items with about {settings}"
            f"{gain}. It {changes}"
        )
    return (
        f"The new items are unlike those trained on: train anew on all items with the same settings{gain}. It {changes}"
    )
