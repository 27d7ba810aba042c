"""Makes the table of metrics that an export or an append prints at its end, and lists the files of an export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sid_jax.export.manifest import read_manifest
from sid_jax.metrics.rows import Row, code_rows
from sid_jax.wording import counted

_REPORT = "report.html"


def export_rows(manifest: Mapping[str, Any]) -> list[Row]:
    """Returns the rows of the closing table of an export, from its manifest."""
    metrics, ids = manifest["metrics"], manifest["semantic_ids"]
    rows = code_rows(metrics)
    if ids["scheme"] == "relocate":
        rows.append(("relocated items", f"{ids['relocated']:.2%}", "their IDs differ from their codes"))
    if "r2" in metrics:
        unique = f"{metrics['r2_unique']:.4f} if decoded from the unique IDs" if "r2_unique" in metrics else ""
        rows.append(("reconstruction R^2", f"{metrics['r2']:.4f}", unique))
    if "r2_sampled" in metrics:
        whole = metrics["num_sampled"] == metrics["num_items"]
        sample = "" if whole else f"on a sample of {counted(metrics['num_sampled'], 'item')}"
        rows.append(("reconstruction R^2", f"{metrics['r2_sampled']:.4f}", sample))
    if "r2_cold" in metrics:
        number = counted(manifest["data"]["num_cold"], "cold item")
        rows.append(("R^2 of cold items", f"{metrics['r2_cold']:.4f}", f"{number}; an estimate for new items"))
    return rows


def version_rows(manifest: Mapping[str, Any]) -> list[Row]:
    """Returns the rows of the closing table of an appended version, from its manifest."""
    counts, drift = manifest["version"], manifest["drift"]
    reference, new = drift["reference"], drift["new_items"]
    rows = [
        ("items kept", f"{counts['kept']:,}", f"{counts['already_there']:,} of them also in the input"),
        ("items added", f"{counts['added']:,}", ""),
        ("items removed", f"{counts['removed']:,}", f"{counted(counts['retired'], 'ID')} reserved for removed items"),
        ("items returned", f"{counts['returned']:,}", "removed in an earlier version"),
        ("published IDs changed", f"{counts['moved']:,}", ""),
    ]
    if new:
        compared = [f"{new['r2_unique']:.3f} if decoded from their IDs"]
        compared += [f"first version {reference['r2']:.3f}"] if reference else []
        if reference and reference["r2_cold"] is not None:
            compared.append(f"cold items {reference['r2_cold']:.3f}")
        distances, chances = (
            [f"{level[name]:.2f}" for level in new["code_shift"]] for name in ("distance", "by_chance")
        )
        rows += [
            ("R^2 of the new items", f"{new['r2']:.3f}", ", ".join(compared)),
            ("shift of the code distribution, by level", " / ".join(distances), f"by chance {' / '.join(chances)}"),
            ("new items whose codes are already taken", f"{new['collide']:.1%}", ""),
            ("relocated new items", f"{new['relocated']:.1%}", "their IDs differ from their codes"),
        ]
    return [*rows, ("IDs in use or reserved", f"{drift['fill']:.2%}", "of all possible IDs")]


def files_of(folder: Path) -> str:
    """Returns the names of an export's files and folders, separated by commas."""
    names = sorted(read_manifest(folder)["files"], key=lambda name: (not name.startswith("ids."), name))
    report = [_REPORT] if (folder / _REPORT).exists() else []
    return ", ".join(dict.fromkeys([*(Path(name).parts[0] for name in names), "manifest.json", *report]))
