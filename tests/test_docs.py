"""The settings and links in the documents exist, and the documents use the terms of the glossary."""

import re

import pytest
from ranking_study.config import default_config as ranker_config

from sid_jax.config import default_config
from sid_jax.recommend.config import default_config as recommender_config
from sid_jax.settings import field_names
from tests.commands import ROOT
from tests.docs import settings_page

ALL_FIELDS = [name for config in (default_config, recommender_config, ranker_config) for name in field_names(config())]
# Words that the docs pages do not use, and the terms of docs/glossary.md for them.
AVOIDED = {
    r"films?": "movie",
    r"held[- ]out items?|unseen items?": "cold item",
    r"unused codes?": "dead code",
    r"reviv\w+": "reset",
    r"refus\w+": "reject",
    r"corpus": "catalog",
    r"exit codes?": "exit status",
    r"generative (model|recommender)s?": "generative decoder",
    r"prefix depths?": "prefix length",
}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_and_file_that_a_document_names_exists(document):
    text = document.read_text()
    settings = re.findall(r"--config\.([a-z_.]+)", text) + re.findall(r"`((?:data|model|train)\.[a-z_]+)`", text)
    sections = {name.rpartition(".")[0] for name in ALL_FIELDS}
    assert set(settings) - {"name", "train.py"} <= set(ALL_FIELDS) | sections
    for link in re.findall(r"\]\(([^):#]+)\)", text):
        assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_uses_the_words_of_the_glossary(document):
    prose = re.sub(r"```.*?```|`[^`]*`", "", document.read_text(), flags=re.S)
    for avoided, word in AVOIDED.items():
        found = re.search(rf"\b({avoided})\b", prose, re.I)
        assert not found, f"'{found[0]}' is not a term of the glossary; use '{word}'"


def test_the_readme_opens_with_the_two_commands_and_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    job, tests = blocks[0].splitlines(), blocks[1].splitlines()
    assert len(job) == len(tests) == 1
    assert "train.py --config=configs/ml100k.py:gumbel --workdir=runs/ml100k" in job[0]
    assert "export.py --workdir=runs/ml100k --out=exports/ml100k" in job[0]
    assert tests[0].endswith("python -m pytest")
    assert (
        tests[0] in (ROOT / "README.md").read_text()
        and "grep -m1 'python -m pytest'" in (ROOT / ".ci" / "run").read_text()
    )


def test_the_page_of_settings_is_what_the_settings_declare():
    assert settings_page.PAGE.read_text() == settings_page.text(), (
        "docs/settings.md is outdated: run python -m tests.docs.settings_page"
    )


def test_every_setting_is_read_by_something():
    folders = (ROOT / "sid_jax", ROOT / "benchmarks" / "ranking_study")
    code = "".join(
        path.read_text()
        for folder in folders
        for path in folder.rglob("*.py")
        if path.name not in ("config.py", "presets.py")
    )
    for name in ALL_FIELDS:
        field = name.rpartition(".")[2]
        assert re.search(rf"\b{field}\b", code), name
