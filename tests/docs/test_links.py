"""Links within the project lead somewhere, and what the pages tell a reader to type can be typed."""

import re
import shlex

import pytest

from infra.reference.cli import parser_of
from tests.docs.pages import ROOT, WRITTEN, anchors, commands, links, name_of
from tidepool.main import resolve

TYPED = [(page, line) for page in WRITTEN for line in commands(page)]


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_link_within_the_project_resolves(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), target


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page) if target[0] != "#"]
    assert set(WRITTEN) - reached - {ROOT / "cli/README.md"} == set()


@pytest.mark.parametrize(
    ("page", "line"), [each for each in TYPED if each[1].startswith("tidepool ")], ids=lambda each: str(each)[-60:]
)
def test_a_tidepool_command_of_a_page_is_one_that_the_client_understands(page, line):
    words = shlex.split(line)[1:]
    name, rest = resolve(words)
    parser, command = parser_of(name)
    own = rest[: rest.index("--")] if command.takes_command and "--" in rest else rest
    parser.parse_args(own)


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_a_make_target_of_a_page_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(" ".join(re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)).split())
    assert set(re.findall(r"`make ([a-z]+)", page.read_text())) <= targets
    typed = [line.split()[1] for page_of, line in TYPED if page_of == page and line.startswith("make ")]
    assert set(typed) <= targets


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_a_module_that_a_page_runs_exists(page):
    for module in re.findall(r"python3? -m ((?:infra|tests|chalicelib)[\w.]*)", page.read_text()):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", [each for each in WRITTEN if "docs" in each.parts], ids=name_of)
def test_a_file_that_a_page_names_exists(page):
    for path in re.findall(
        r"`((?:chalicelib|infra|cli|tests|docs|\.chalice)/[\w./-]*\w\.(?:py|json|md))`", page.read_text()
    ):
        assert (ROOT / path).exists(), path
