"""Hook of mkdocs that adapts the links of docs pages, so that they work both in the site and on a code host.

On a code host such as GitHub, the link `[config.py](../sid_jax/config.py)` opens the file. The site has a copy of each
such file in `source/`, and it has CONTRIBUTING.md and CHANGELOG.md as pages. If the text of a link is the file name of
a page, the site shows the title of the page instead.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages in the repository root, and their names in the site.
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")
_FILE_NAME_LINK = re.compile(r"\[[\w/-]+\.md\](?=\(([^)#:\s]+\.md)[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds to the site the pages of the repository root, and each file of the repository that a page links to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for file in files.documentation_pages():
        for target in _LINK.findall(file.content_string):
            path = _in_repository(file.src_uri, target)
            place = _in_site(path)
            if place.startswith("source/") and (ROOT / path).is_file() and place not in files.src_uris:
                files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replaces links to files outside docs/ with links to the site's copies, and file names in links with titles."""
    here = page.file.src_uri

    def in_site(match: re.Match[str]) -> str:
        return posixpath.relpath(_in_site(_in_repository(here, match[0])), posixpath.dirname(here) or ".")

    def titled(match: re.Match[str]) -> str:
        file = files.get_file_from_path(_in_site(_in_repository(here, match[1])))
        return match[0] if file is None else f"[{_title(file)}]"

    return _LINK.sub(in_site, _FILE_NAME_LINK.sub(titled, markdown))


def _title(file: File) -> str:
    """Returns the first heading of a page up to a colon, such as "Metrics" for "Metrics: what they mean"."""
    return file.content_string.partition("\n")[0].removeprefix("# ").partition(":")[0]


def _in_repository(page: str, target: str) -> str:
    """Returns the path in the repository of the file to which a page of the site links."""
    source = next((name for name, there in PAGES.items() if there == page), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _in_site(path: str) -> str:
    """Converts a path in the repository to a path in the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else PAGES.get(path, f"source/{path}")
