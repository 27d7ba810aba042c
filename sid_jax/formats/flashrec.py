"""FlashRec: the catalog of Semantic IDs that constrains its beam search, with the items of each ID."""

from __future__ import annotations

from pathlib import Path

from sid_jax.formats.content import Content, write_plain_json


def write_flashrec(folder: Path, content: Content) -> None:
    """Writes `sid2vid.json`, with entries `"12,4,91": [{"pid": item}]`, for FlashRec's option `--sid-vocab-file`."""
    catalog: dict[str, list[dict[str, int | str]]] = {}
    for item, codes in zip(content.table.item_ids.tolist(), content.codes, strict=True):
        catalog.setdefault(",".join(map(str, codes)), []).append({"pid": item})
    write_plain_json(folder / "sid2vid.json", catalog)
