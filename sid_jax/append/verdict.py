"""Decides whether items added since training make retraining due. Once due, retraining stays due until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# Retraining is due if one of the thresholds below is exceeded. docs/daily-updates.md explains each threshold.

# R^2 that the catalog has lost since training, because added items fit less well than the items of the first version.
CATALOG_R2_LOST = 0.02
# R^2 of cold items, minus R^2 of new items, minus two standard errors of the R^2 of new items.
BELOW_COLD = 0.05
# If there were no cold items: the same difference with the R^2 of training items instead of cold items.
BELOW_TRAINED = 0.20
# Jensen-Shannon distance between the distributions of the first codes of the new items and of the previous version's
# items, minus the distance by chance. The distance by chance is the 99th percentile of the distances between the
# previous version's distribution and random samples from it.
CODE_SHIFT = 0.10
# Share of the new items that were relocated, that is, whose IDs differ from their codes.
MOVED = 0.50
# Share of all possible IDs that are in use or reserved. It is checked only for IDs made unique by relocation.
FILL = 0.90
# Minimum number of new items for the checks of their R^2 and their IDs. It is also the minimum number of items added
# since training for the check of their IDs and for the estimate of when retraining is due.
_FEWEST = 10

# Cause of an exceeded threshold: the items differ from the training items, or there are too few codes.
_DRIFT, _CROWDED = "drift", "crowded"


class _Check(NamedTuple):
    what: str
    threshold: float
    cause: str
    # Earlier texts of `what`. Old verdicts have no check names, so their reasons are matched to checks by these texts.
    earlier: tuple[str, ...] = ()


# The keys are the names of the checks. In a verdict, each check has its name beside its text, since the texts change
# between versions of the package.
_CHECKS = {
    "catalog_r2_lost": _Check(
        "R^2 lost by the catalog since training",
        CATALOG_R2_LOST,
        _DRIFT,
        ("R^2 that the catalog lost since training",),
    ),
    "r2_below_trained": _Check(
        "R^2 of new items below that of training items, beyond two standard errors",
        BELOW_TRAINED,
        _DRIFT,
        (
            "R^2 of new items below those trained on",
            "R^2 of new items below that of trained items",
            "R^2 of new items below that of training items",
        ),
    ),
    "r2_below_cold": _Check(
        "R^2 of new items below that of cold items, beyond two standard errors",
        BELOW_COLD,
        _DRIFT,
        ("R^2 of new items below cold items", "R^2 of new items below that of cold items"),
    ),
    "code_shift": _Check(
        "shift of the first codes beyond chance",
        CODE_SHIFT,
        _DRIFT,
        ("shift of the first codes above chance",),
    ),
    "new_relocated": _Check(
        "share of new items that were relocated",
        MOVED,
        _CROWDED,
        (
            "share of new items that got others than their codes",
            "share of new items whose IDs differ from their codes",
        ),
    ),
    "relocated_since_training": _Check(
        "share of items added since training that were relocated",
        MOVED,
        _CROWDED,
        (
            "share of the items since training that got others than their codes",
            "share of items since training whose IDs differ from their codes",
            "share of items added since training whose IDs differ from their codes",
        ),
    ),
    "fill": _Check(
        "share of all IDs that are in use or reserved",
        FILL,
        _CROWDED,
        ("share of all IDs that are in use or kept",),
    ),
}
# Names of checks, by their texts and by the names that they had in earlier versions of the package.
_NAMES = {text: name for name, check in _CHECKS.items() for text in (check.what, *check.earlier)}
_NAMES |= {"new_moved": "new_relocated", "moved_since_training": "relocated_since_training"}


def verdict(
    drift: Mapping[str, Any],
    num_items: int,
    *,
    number: int = 2,
    before: Mapping[str, Any] | None = None,
    remedy: str = "more levels or codes",
) -> dict[str, Any]:
    """Returns whether retraining is due, the reasons, and the expected gain and cost of retraining.

    An exceeded threshold is a standing reason: it remains until the next training run, even if later versions have no
    new items.

    Args:
      drift: the drift report: "reference", "new_items" (None if there are none), "since_training", "fill" and, if IDs
        can run out, "free".
      num_items: number of all items of the version.
      number: number of the version.
      before: the verdict of the previous version; None if there is none.
      remedy: text with the settings that would give enough codes for the items.

    Returns:
      retraining_is_due: whether there is a standing reason;
      due_since: number of the first version with a standing reason, or None;
      checks: the checks of this version, each with "name", "what" (its description), "value", "threshold", "due"
        (whether the value exceeds the threshold) and "cause" ("drift" or "crowded");
      standing: the standing reasons, which are the checks whose thresholds were exceeded in this or an earlier version.
        Each has "name", "what", "value" (the largest so far), "threshold", "cause" and "version" (the first version
        in which the threshold was exceeded);
      remedy: text that says what to do, or None;
      r2_to_gain: R^2 that the catalog has lost since training, the maximum that retraining can restore; None if
        it is unknown;
      ids_to_change: the number of items, which is the maximum number of IDs that retraining can change;
      new_items_until_due: estimated number of further items until the lost R^2 makes retraining due, if they fit as
        well as the items added since training; None if this never happens or is unknown, or if retraining is due.
    """
    checks = _checks(drift, num_items)
    earlier = _standing(before, number - 1)
    standing = {each["name"]: each for each in earlier}
    for check in checks:
        if check["due"]:
            was = standing.get(check["name"], {"value": check["value"], "version": number})
            value = max(was["value"], check["value"])
            about = {field: check[field] for field in ("name", "what", "threshold", "cause")}
            standing[check["name"]] = {**about, "value": value, "version": was["version"]}
    reasons = list(standing.values())
    lost = _lost(drift, num_items)
    return {
        "retraining_is_due": bool(reasons),
        "due_since": min((each["version"] for each in reasons), default=None),
        "checks": checks,
        "standing": reasons,
        "remedy": _remedy(standing, num_items, lost, remedy) if reasons else None,
        "r2_to_gain": lost,
        "ids_to_change": num_items,
        "new_items_until_due": None if reasons else _until_due(drift, num_items),
    }


def in_words(drift: Mapping[str, Any]) -> list[str]:
    """Returns lines of text on whether and when retraining is due; the last line is the verdict."""
    judged, lines = drift["verdict"], []
    if until := judged.get("new_items_until_due"):
        lines.append(
            f"Retraining is expected to be due after about {until:,} more items like those added since training"
        )
    return [*lines, _last_line(judged)]


def _last_line(judged: Mapping[str, Any]) -> str:
    reasons = judged.get("standing") or [each for each in judged["checks"] if each["due"]]
    if not reasons:
        return "Retraining is not due."
    words = "; ".join(f"{each['what']} ({each['value']:.3f}, threshold {each['threshold']:.2f})" for each in reasons)
    since = f" (since version {judged['due_since']})" if judged.get("due_since") else ""
    return f"Retraining is due: {words}{since}.{' ' * bool(judged.get('remedy'))}{judged.get('remedy') or ''}"


def _checks(drift: Mapping[str, Any], num_items: int) -> list[dict[str, Any]]:
    reference, new, since = drift["reference"], drift["new_items"], drift["since_training"]
    checks: list[dict[str, Any]] = []

    def check(name: str, value: float) -> None:
        what, threshold, cause, _ = _CHECKS[name]
        due = bool(value > threshold)
        checks.append({"name": name, "what": what, "value": value, "threshold": threshold, "due": due, "cause": cause})

    lost = _lost(drift, num_items)
    if lost is not None:
        check("catalog_r2_lost", lost)
    enough = new is not None and new.get("num_items", _FEWEST) >= _FEWEST
    if reference and enough:
        # The tolerance is two standard errors, so that random variation of the items does not cause an alarm.
        least = new["r2"] + 2 * new["r2_standard_error"]
        if reference["r2_cold"] is None:
            check("r2_below_trained", reference["r2"] - least)
        else:
            check("r2_below_cold", reference["r2_cold"] - least)
    if new:
        first = new["code_shift"][0]
        check("code_shift", first["distance"] - first["by_chance"])
    if enough:
        check("new_relocated", new["relocated"])
    if since["num_items"] >= _FEWEST and since.get("relocated") is not None:
        check("relocated_since_training", since["relocated"])
    if drift.get("free") is not None:
        check("fill", drift["fill"])
    return checks


def _standing(before: Mapping[str, Any] | None, number: int) -> list[dict[str, Any]]:
    """Returns the standing reasons (see `verdict`) that the previous verdict contains.

    Older versions of sid_jax wrote verdicts without standing reasons, or reasons without a name. For a verdict without
    standing reasons, returns the checks whose thresholds were exceeded. Reasons without a name get the name, the text
    and the cause of their check.
    """
    if before is None:
        return []
    reasons = before["standing"] if "standing" in before else [each for each in before["checks"] if each["due"]]
    return [_named(reason, number) for reason in reasons]


def _named(reason: Mapping[str, Any], number: int) -> dict[str, Any]:
    name = reason.get("name") or reason["what"]
    name = _NAMES.get(name, name)
    known = _CHECKS.get(name)
    return {
        "name": name,
        "what": known.what if known else reason["what"],
        "threshold": reason["threshold"],
        "cause": known.cause if known else reason.get("cause", _DRIFT),
        "value": reason["value"],
        "version": reason.get("version", number),
    }


def _lost(drift: Mapping[str, Any], num_items: int) -> float | None:
    """Returns the decrease of the catalog's R^2 since training; None if it is unknown."""
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
    # Retraining becomes due when the items added since training are more than `share` of the catalog.
    share, old = CATALOG_R2_LOST / gap, max(num_items - since["num_items"], 0)
    return max(1, round(old * share / (1 - share)) - since["num_items"])


def _remedy(standing: Mapping[str, Mapping[str, Any]], num_items: int, lost: float | None, settings: str) -> str:
    gain = f"regains at most {lost:.3f} of the catalog's R^2, and " if lost is not None and lost > 0 else ""
    effects = f"Retraining {gain}changes up to {num_items:,} IDs (nearly all, even with --align_to)"
    causes = {each["cause"] for each in standing.values()}
    if _CROWDED not in causes:
        return f"The new items differ from the training items. Retrain on all items with the same settings. {effects}"
    # The model assigns only a few of its codes to items of new kinds, so these items also collide with each other.
    if _DRIFT in causes and "fill" not in standing:
        return (
            "The new items differ from the training items. This difference may be the only reason why many new items "
            "were relocated. Retrain on all items with the same settings. If the training then "
            f"warns of too few codes, retrain with more codes, for example with {settings}. {effects}"
        )
    return (
        "There are too few codes for the items, so the same settings will not help. Retrain on all items, for example "
        f"with {settings}. {effects}"
    )
