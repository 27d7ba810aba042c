"""Messages of an append: the number of added and removed items, changes of known items, and the drift report."""

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
    """Yields lines about the version `made` in the folder `out`, which follows the published version of `export`."""
    counts = made.manifest["version"]
    yield f"Version {counts['number']} of {export} is in {out}: {len(made.table):,} Semantic IDs"
    yield (
        f"{counts['kept']:,} items kept ({counts['already_there']:,} of them also in the input), {counts['added']:,} "
        f"added, {counts['removed']:,} removed, {counts['returned']:,} returned; {counts['moved']:,} published IDs "
        f"changed; {counts['retired']:,} IDs reserved for removed items"
    )
    if counts["returned"]:
        yield _of_returned(published, made)
    if counts["came_and_went"]:
        yield f"{counts['came_and_went']:,} items of the input are also to be removed and were never published: ignored"
    if counts["columns_updated"]:
        yield f"{counts['columns_updated']:,} published items have new values in other columns"
    if counts["changed"]:
        yield _of_changed(made)
    if not any(counts[name] for name in ("added", "removed", "returned", "moved", "columns_updated")):
        yield "This version has the same items and IDs as the previous one"
    yield from in_words(made.manifest["drift"])


def _of_returned(published: Published, made: Export) -> str:
    rows = places(published.retired.arrow_ids, made.table.arrow_ids) >= 0
    names = [repr(each) for each in published.retired.item_ids[rows][:_MOST_NAMED].tolist()]
    versions = sorted(set(published.removed_in[rows].tolist()))
    return (
        f"Warning: {int(rows.sum()):,} items of the input were removed earlier (in version "
        f"{listed(map(str, versions))}) and have returned, such as {', '.join(names)}. If the input is an old file, "
        "delete this version, and append again with --on_returned=error"
    )


def _of_changed(made: Export) -> str:
    counts, known = made.manifest["version"], made.manifest["drift"]["known_items"]
    words = f"{counts['changed']:,} published items of the input get other codes from their current vectors"
    if counts["moved"]:
        return f"{words}: {counts['moved']:,} got new IDs; their old IDs are in {FORMER_FILE}"
    return (
        f"{words} and keep their IDs (R^2 of all published items of the input: {known['r2_unique']:.3f} from their "
        f"IDs, {known['r2']:.3f} from their current codes); --on_known=move gives them new IDs"
    )
