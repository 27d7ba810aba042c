"""What the metadata say of items: title, brand, categories, price, description."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.data.catalogs.amazon.reviews import ITEM, field
from sid_jax.data.catalogs.records import read_records
from sid_jax.data.text.template import clean

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("price", pa.float64()),
        ("description", pa.string()),
    ]
)

# As it stands in a line, so that a line of another item is not parsed.
_NAMED = re.compile(rb"""["'](?:parent_)?asin["']\s*:\s*["']([^"']+)["']""")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_PRICE = re.compile(r"\$?\s*(\d[\d,]*(?:\.\d+)?)(?:\s*-\s*\$?\s*\d[\d,]*(?:\.\d+)?)?")
# Pieces of a page's script that some titles of 2018 are.
_NO_TITLE = "getTime"


def read_metadata(path: Path, item_ids: np.ndarray) -> tuple[pa.Table, int]:
    """Reads what is said of some items, and forgets the others line by line.

    Args:
      path: in the layout of 2014, 2018 or 2023.
      item_ids: `[N]` object (str).

    Returns:
      A table with `SCHEMA`, an item a row in the order of `item_ids`, and how many items the file says something of.
      Of an item that it names twice the first record counts; what it does not know is empty. Categories are without the
      root of each path, which all items share; text is without HTML; a price is the lower end of a range.

    Raises:
      UserError: if the file is damaged.
    """
    wanted = {item_id.encode() for item_id in item_ids}
    found: dict[str, dict[str, Any]] = {}
    for number, record in read_records(path, lambda line: _may_be_wanted(line, wanted)):
        item_id = field(record, ITEM, f"{path}: line {number}")
        if item_id.encode() in wanted and item_id not in found:
            found[item_id] = _item(record)
    rows = [{"item_id": item_id, **found.get(item_id, _item({}))} for item_id in item_ids]
    return pa.Table.from_pylist(rows, SCHEMA), len(found)


def _may_be_wanted(line: bytes, wanted: set[bytes]) -> bool:
    names = _NAMED.findall(line)
    return not names or any(name in wanted for name in names)


def _item(record: Mapping[str, Any]) -> dict[str, Any]:
    title = _plain(record.get("title"))
    return {
        "title": "" if _NO_TITLE in title else title,
        "brand": _plain(record.get("brand") or record.get("store")),
        "categories": _categories(record),
        "price": _price(record.get("price")),
        "description": _plain(record.get("description")),
    }


def _plain(value: Any) -> str:
    """Returns text, or a list of texts, without tags, entities and line breaks."""
    if isinstance(value, (list, tuple)):
        return " ".join(text for text in map(_plain, value) if text)
    return " ".join(html.unescape(_TAG.sub(" ", clean(value))).split()) if isinstance(value, str) else ""


def _categories(record: Mapping[str, Any]) -> list[str]:
    paths = record.get("categories") or record.get("category") or []
    if not isinstance(paths, (list, tuple)):
        return []
    # 2014 has a list of paths, later editions one path.
    paths = paths if paths and isinstance(paths[0], (list, tuple)) else [paths]
    names = [_plain(name) for path in paths if isinstance(path, (list, tuple)) for name in path[1:]]
    return [name for name in names if name]


def _price(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    match = _PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "")) if match else None
