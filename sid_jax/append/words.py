"""Prints the result of an append: counts and changes of items, and how well the new items fit the quantizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sid_jax.append.published import Published
from sid_jax.append.verdict import in_words
from sid_jax.errors import listed
from sid_jax.export.artifact import FORMER_FILE, Export
from sid_jax.export.closing import files_of, version_rows
from sid_jax.ids.convert import places
from sid_jax.messages import Messages
from sid_jax.wording import counted

_MOST_NAMED = 3


def show_version(messages: Messages, published: Published, made: Export, export: Path, out: Path) -> None:
    """Prints the counts, the drift and the files of `made`, which is the new version of `export`."""
    title = f"Version {made.manifest['version']['number']} of {export}: {len(made.table):,} Semantic IDs"
    messages.closing(title, version_rows(made.manifest))
    if made.manifest["version"]["returned"]:
        messages.warn(of_returned(published, made, "--on_returned=error"))
    for line in _words_of_version(published, made):
        messages.line(line)
    messages.line(f"The version is in {out}: {files_of(out)}")


def append_line(manifest: Mapping[str, Any]) -> str:
    """Returns the result of an append in one line, from the manifest of the new version."""
    counts, verdict = manifest["version"], manifest["drift"]["verdict"]
    numbers = ", ".join(f"{counts[name]} {name}" for name in ("added", "removed", "returned", "moved"))
    known = counted(counts["already_there"], "known item", "known items")
    due = "retraining is due" if verdict["retraining_is_due"] else "retraining is not due"
    return f"version {counts['number']}: {numbers}; the input has {known}; {due}"


def _words_of_version(published: Published, made: Export) -> Iterator[str]:
    counts = made.manifest["version"]
    if counts["came_and_went"]:
        one = "item of the input was ignored, since it is also to be removed and was never published"
        many = "items of the input were ignored, since they are also to be removed and were never published"
        yield counted(counts["came_and_went"], one, many)
    if counts["columns_updated"]:
        yield f"{counted(counts['columns_updated'], 'known or returned item')} got new column values"
    if counts["changed"]:
        yield _of_changed(made)
    if not any(counts[name] for name in ("added", "removed", "returned", "moved", "columns_updated")):
        yield "This version has the same items and IDs as the previous one"
    yield from in_words(made.manifest["drift"])


def of_returned(published: Published, made: Export, option: str) -> str:
    """Returns a warning about items that an earlier append removed and this append adds; `option` rejects them."""
    rows = places(published.retired.arrow_ids, made.table.arrow_ids) >= 0
    names = [repr(each) for each in published.retired.item_ids[rows][:_MOST_NAMED].tolist()]
    versions = sorted(set(published.removed_in[rows].tolist()))
    return (
        f"{counted(int(rows.sum()), 'item')} of the input had been removed earlier (in version "
        f"{listed(map(str, versions))}) and returned, such as {', '.join(names)}. If the input is an old file, "
        f"delete this version, and append again with {option}"
    )


def _of_changed(made: Export) -> str:
    counts, known = made.manifest["version"], made.manifest["drift"]["known_items"]
    one = "known or returned item gets other codes from its current vector"
    words = counted(counts["changed"], one, "known or returned items get other codes from their current vectors")
    if counts["moved"]:
        moved = counted(counts["moved"], "got a new ID; its old ID is", "got new IDs; their old IDs are")
        return f"{words}: {moved} in {FORMER_FILE}"
    kept = "keeps its ID" if counts["changed"] == 1 else "keep their IDs"
    return (
        f"{words} and {kept} (R^2 of all known and returned items: {known['r2_unique']:.3f} from their IDs, "
        f"{known['r2']:.3f} from their current codes); --on_known=move gives new IDs to items with other codes"
    )
