"""The pages of the documentation, their code blocks, and the commands in the blocks."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

from tests.commands import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language ("" for none), its text, and the line number at which the text begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Returns the words of each command of a bash block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines for words in _split(shlex.split(line, comments=True)) if words]


def blocks_of(page: Path) -> list[Block]:
    """Returns a page's blocks in order."""
    text = page.read_text()
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    return [Block(page, text.count("\n", 0, each.start()) + 2, each[1], each[2]) for each in found]


def _split(words: list[str]) -> list[list[str]]:
    """Returns the commands between the `&&`s of a line."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands
