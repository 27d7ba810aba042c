"""Messages of an append: counts of added and removed items, changes of known items, and how the new items fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sid_jax.append.published import Published
from sid_jax.append.verdict import in_words
from sid_jax.errors import listed
from sid_jax.export.artifact import FORMER_FILE, Export
from sid_jax.ids.convert import places

_MOST_NAMED = 3


def words_of_version(published: Published, made: Export, export: Path, out: Path) -> Iterator[str]:
    """Yields lines about the version `made` at `out`, which follows the published version of `export`."""
    counts = made.manifest["version"]
    yield f"Version {counts['number']} of {export} is in {out}: {len(made.table):,} Semantic IDs"
    yield (
        f"{counts['kept']:,} kept ({counts['already_there']:,} of them in the input too), {counts['added']:,} added, "
        f"{counts['removed']:,} removed, {counts['returned']:,} returned; {counts['moved']:,} published IDs moved; "
        f"{counts['retired']:,} IDs are kept for items that left"
    )
    if counts["returned"]:
        yield _of_returned(published, made)
    if counts["came_and_went"]:
        yield f"{counts['came_and_went']:,} items of the input are to be removed too, and are in no version: left out"
    if counts["columns_updated"]:
        yield f"{counts['columns_updated']:,} items that were known have new values in other columns"
    if counts["changed"]:
        yield _of_changed(made)
    if not any(counts[name] for name in ("added", "removed", "returned", "moved", "columns_updated")):
        yield "Nothing is new: this version has the items and the IDs of the one before"
    yield from in_words(made.manifest["drift"])


def _of_returned(published: Published, made: Export) -> str:
    rows = places(published.retired.arrow_ids, made.table.arrow_ids) >= 0
    names = [repr(each) for each in published.retired.item_ids[rows][:_MOST_NAMED].tolist()]
    versions = sorted(set(published.removed_in[rows].tolist()))
    return (
        f"Warning: {int(rows.sum()):,} items of the input were removed earlier (in version "
        f"{listed(map(str, versions))}) and are back, such as {', '.join(names)}. If the input is "
        "an old file, remove this version and append with --on_returned=error"
    )


def _of_changed(made: Export) -> str:
    counts, known = made.manifest["version"], made.manifest["drift"]["known_items"]
    words = f"{counts['changed']:,} known items of the input have other codes by their vectors of now"
    if counts["moved"]:
        return f"{words}: {counts['moved']:,} moved to new IDs, and their old ones are kept in {FORMER_FILE}"
    return (
        f"{words}, and keep their IDs (R^2 of all known items of the input: {known['r2_unique']:.3f} by their IDs, "
        f"{known['r2']:.3f} by the codes of now): --on_known=move gives them new ones"
    )
