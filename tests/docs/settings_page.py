"""Generates docs/settings.md from the declarations of the settings: run `python -m tests.docs.settings_page`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from sid_jax import config as quantizer
from sid_jax.joint_quantizer import config as joint
from sid_jax.recommend import config as recommender
from sid_jax.settings import Declaration, Setting, declared_settings
from tests.commands import ROOT

PAGE = ROOT / "docs" / "settings.md"


def text() -> str:
    """Returns the text of the page."""
    own = {name: declared for name, declared in recommender.SETTINGS.items() if name != "quantizer"}
    return "\n".join(
        [
            "# Settings",
            "",
            "This page lists all settings with their defaults and valid values. On the command line,",
            "`--config.NAME=VALUE` sets a setting; [configs.md](configs.md) describes other ways.",
            "`sid-jax train --helpfull` also lists the settings of the quantizer.",
            "",
            "If a meaning begins with a word and a colon, such as `movielens:` or `ema:`, the setting applies only to",
            "that source, method or kind of model. Most durations are in epochs, so the defaults fit any catalog size.",
            "",
            "## Quantizer",
            "",
            *_tables("Quantizer", quantizer.SETTINGS),
            "## Recommender",
            "",
            "The section `quantizer` has the settings above, except `seed`, for IDs that a recommender's run computes.",
            "",
            *_tables("Recommender", own),
            "## JointQuantizer",
            "",
            "Arguments of `sid_jax.JointQuantizer`: [joint-own-model.md](joint-own-model.md).",
            "",
            *_tables("JointQuantizer", joint.SETTINGS),
        ]
    )


def _tables(title: str, declaration: Declaration) -> list[str]:
    """Returns the lines of one table per section, each under a heading with the section's name."""

    def section_of(declared: tuple[str, Setting]) -> str:
        section, dot, _ = declared[0].partition(".")
        return section if dot else ""

    lines: list[str] = []
    for section, settings in itertools.groupby(declared_settings(declaration), section_of):
        lines += [f"### {title}: {section}", ""] if section else []
        lines += [*_table(settings), ""]
    return lines


def _table(settings: Iterable[tuple[str, Setting]]) -> list[str]:
    rows = []
    for name, setting in settings:
        allowed = setting.allowed()
        # A long list of allowed values, such as the names of the catalogs, is omitted.
        meaning = f"{setting.meaning} ({allowed})" if allowed and len(allowed) < 100 else setting.meaning
        default = f"`{setting.default}`" if setting.default != "" else ""
        rows.append(f"| `{name}` | {default} | {meaning.replace('|', chr(92) + '|')} |")
    return ["| setting | default | meaning |", "|---|---|---|", *rows]


if __name__ == "__main__":
    PAGE.write_text(text())
