"""The documentation site: `mkdocs build --strict` succeeds, and the site has the required content."""

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import sid_jax
from sid_jax import lite, llm
from tests.commands import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        # A strict build fails if a page is not in the navigation, or if the target of a link is missing.
        build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def test_the_site_loads_nothing_from_a_network(site):
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text()):
            assert not re.search(r"(?:src|href)=\"?(?:https?:)?//", tag), f"{page.name} loads from a network: {tag}"


def test_the_reference_has_every_public_name(site):
    pages = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    for module in (sid_jax, lite, llm):
        for name in set(module.__all__) - {"__version__"}:
            assert f'id="{module.__name__}.{name}"' in pages, name


def test_links_out_of_the_docs_lead_to_copies(site):
    page = (site / "configs.html").read_text()
    for link in ("source/sid_jax/config.py", "changelog.html"):
        assert f'href="{link}"' in page
        assert (site / link).exists()
    assert (site / "source" / "sid_jax" / "config.py").read_text() == Path(ROOT / "sid_jax" / "config.py").read_text()
