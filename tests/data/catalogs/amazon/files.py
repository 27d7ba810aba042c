"""A few synthetic products and reviews in the layout of each edition of the Amazon data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

# User, item and time of each review. The reviews of users a and b are not in time order, and some times are equal.
REVIEWS = [
    ("b", "B01", 50),
    ("a", "B02", 20),
    ("a", "B01", 10),
    ("c", "B03", 5),
    ("b", "B02", 50),
    ("a", "B03", 20),
    ("b", "B03", 7),
    ("c", "B01", 6),
    ("c", "B02", 6),
    ("d", "B04", 1),
]
TITLES = {"B01": "Nail Lacquer &amp; Care", "B02": "L'Eau <b>Fine</b>", "B03": 'The "Best" Cream'}


def lines_2014() -> tuple[str, str]:
    """Returns lines of reviews, which are JSON, and lines of metadata, which are Python dicts."""
    reviews = [
        {"reviewerID": user, "asin": item, "reviewText": f"I'd asin: 'B09' \"{item}\"", "unixReviewTime": time}
        for user, item, time in REVIEWS
    ]
    metadata = [
        {
            "asin": item,
            "description": f"Not 'asin': 'B0{number}'",
            "title": title,
            "price": 3.5,
            "categories": [["Beauty", "Makeup", "Nails"], ["Beauty", "Hands"]],
            "salesRank": {"Beauty": 7},
            **({"brand": "OPI"} if item == "B01" else {}),
        }
        for number, (item, title) in enumerate({"C99": "Not reviewed", **TITLES}.items())
    ]
    return "\n".join(map(json.dumps, reviews)) + "\n", "\n".join(map(repr, metadata)) + "\n"


def lines_2018() -> tuple[str, str]:
    metadata = [
        {
            "asin": item,
            "category": ["All Beauty", "Makeup", "Nails"],
            "description": ["First.", "Second &lt;3"],
            "title": title,
            "brand": "OPI" if item == "B01" else "",
            "price": "$1,003.50 - $1,200.00" if item == "B01" else ".a-box-inner{color:#fff}",
        }
        for item, title in {"C99": "Not reviewed", **TITLES}.items()
    ]
    metadata.append({**metadata[1], "title": "Named twice"})
    reviews, _ = lines_2014()
    return reviews, "\n".join(map(json.dumps, metadata)) + "\n"


def lines_2023() -> tuple[str, str]:
    reviews = [
        {"user_id": user, "asin": f"variant of {item}", "parent_asin": item, "timestamp": 1000 * time, "text": "é"}
        for user, item, time in REVIEWS
    ]
    metadata = [
        {
            "main_category": "All Beauty",
            "title": title,
            "price": None,
            "store": "OPI" if item == "B01" else None,
            "categories": ["Beauty & Personal Care", "Makeup", "Nails"],
            "description": [],
            "parent_asin": item,
        }
        for item, title in {"C99": "Not reviewed", **TITLES}.items()
    ]
    return "\n".join(map(json.dumps, reviews)) + "\n", "\n".join(map(json.dumps, metadata)) + "\n"


NAMES = {
    "2014": ("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"),
    "2018": ("All_Beauty_5.json.gz", "meta_All_Beauty.json.gz"),
    "2023": ("All_Beauty.jsonl", "meta_All_Beauty.jsonl"),
}
LINES = {"2014": lines_2014, "2018": lines_2018, "2023": lines_2023}


def write_edition(folder: Path, edition: str) -> Path:
    """Writes the files of an edition under their original names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(NAMES[edition], LINES[edition](), strict=True):
        content = text.encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def write_prepared(folder: Path) -> Path:
    """Writes a prepared folder: a file of items, and a file with one history per line."""
    folder.mkdir(parents=True)
    items = [
        {"item": 1, "asin": "B01", "title": "Nail Lacquer", "categories": ["Makeup"], "text": "Title: Nail Lacquer"},
        {"item": 2, "asin": "B02", "title": "", "categories": [], "text": "Something else"},
        {"item": 3, "asin": "B03", "title": "Cream", "categories": ["Skin", "Face"], "text": "Title: Cream"},
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n")
    (folder / "sequences.txt").write_text("1 1 3\n2 3 2 1\n")
    return folder
