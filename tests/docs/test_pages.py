"""Every command and every snippet of the docs pages is run, or is listed in tests/docs/exceptions.py with a reason."""

import re

import pytest

from sid_jax.config import default_config
from tests.commands import ROOT
from tests.docs.conftest import run_page
from tests.docs.exceptions import NOT_RUN, RUN_BY, why_not_run
from tests.docs.pages import PAGES, README, blocks_of
from tests.docs.typed import check

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = [words for block in BLOCKS if block.language == "bash" for words in block.commands()]


def named(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_looks_like_a_command_or_python_says_so(page):
    for block in blocks_of(page):
        assert block.language in ("", "bash", "python"), f"{block}: begin the block with ```bash, ```python or ```"
        if not block.language:
            assert not re.search(r"^(python|pip|import|from) ", block.text, re.M), (
                f"{block}: mark the block as ```bash or ```python"
            )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_is_not_run_can_be_begun(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in blocks_of(page):
        for words in block.commands() if block.language == "bash" else ():
            if page.name in RUN_BY or why_not_run(words):
                check(words)


@pytest.mark.parametrize("page", [page for page in PAGES if page != README and page.name not in RUN_BY], ids=named)
def test_a_page_runs(page, place):
    run_page(page, place(page))


def test_the_readme_runs_and_leaves_what_it_says(readme):
    assert (readme / "exports" / "ml100k" / "ids.parquet").exists()
    assert (readme / "exports" / "items" / "ids.parquet").exists()
    assert (readme / "runs" / "recommend" / "results.json").exists()


def test_every_exception_is_of_some_use():
    for part in NOT_RUN:
        assert any(part in " ".join(words) for words in COMMANDS), (
            f"{part}: no page has such a command; remove it from NOT_RUN"
        )
    assert any(why_not_run(words) is None for words in COMMANDS)
    for page, test in RUN_BY.items():
        assert page in (ROOT / test).read_text()


def test_messages_name_existing_extras_in_the_form_that_works_in_any_folder():
    found = set()
    for path in (ROOT / "sid_jax").rglob("*.py"):
        found |= set(re.findall(r"pip install (\S*\[.*?\]\S?)", path.read_text()))
    assert {"'sid_jax[wandb]'", "'sid_jax[llm]'"} <= found
    for argument in found:
        assert re.fullmatch(r"'sid_jax\[[\w{}]+\]'", argument), argument
        if "{" not in argument:
            check(["pip", "install", argument])


def test_the_defaults_on_the_page_of_commands_are_the_declared_ones():
    rows = re.findall(r"^\| ((?:`\w+\.\w+`(?:, )?)+) \| (.*?) \|", (ROOT / "docs" / "commands.md").read_text(), re.M)
    assert len(rows) >= 9
    for names, stated in rows:
        section_of = [name.split(".") for name in re.findall(r"`(.*?)`", names)]
        defaults = [default_config()[section][name] for section, name in section_of]
        shown = stated.replace("`", "")
        assert shown == ", ".join(map(str, defaults)) or {shown} == set(defaults), names


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("python train.py --config=configs/embeddings.py --workdir=w --config.model.num_level=3", "num_levels"),
        ("python train.py --config=configs/nothing.py --workdir=w", "nothing.py"),
        ("python train.py --config=configs/ml100k.py:gumble --workdir=w", "gumble"),
        ("python export.py --workdir=w --out=o --uniqe=none", "uniqe"),
        ("sid-jax evaluate --ids=i --vector=v", "vector"),
        ("sid-jax recommend --config=recommend:ml100 --workdir=w", "ml100k, beauty"),
        ("sid-jax train --config=recommend --workdir=w", "belongs to another command"),
        ("sid-jax train --config=ml1m --workdir=w", "there is no preset"),
        ("sid-jax measure --ids=i", "there is no command"),
        ("python benchmarks/quality.py --vektors=items.npy", "no --vektors"),
        ("pip install -e '.[everything]'", "everything"),
        ("curl something", "unknown command"),
    ],
)
def test_a_command_that_cannot_be_begun_is_found(typed, complaint, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(AssertionError, match=complaint):
        check(typed.replace("'", "").split())
