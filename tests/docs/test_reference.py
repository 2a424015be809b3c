"""The generated pages are what the code would generate now, and say something about everything."""

import json
import re
from importlib import import_module

import pytest

import app as application
from chalicelib.api import openapi
from chalicelib.domain.errors import BackendError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import AttemptState, RunReason, RunState
from chalicelib.domain.timers import TimerKind
from infra import reference
from infra.reference import settings, words
from infra.reference.cli import actions_of, anchor, parser_of
from infra.reference.errors import tree
from infra.resources import template
from tests.docs.pages import ROOT
from tidepool.errors import from_problem
from tidepool.main import COMMANDS

ANSWERED = [kind for kind in tree() if not issubclass(kind, BackendError)]
"""A provider's refusal is told by an attempt, not by an answer of the API."""


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_is_current(name, pages):
    assert (reference.FOLDER / name).read_text() == pages[name], "run: python -m infra.reference"


def test_nothing_else_lies_among_the_generated_pages():
    assert {path.name for path in reference.FOLDER.iterdir()} == set(reference.PAGES)


def test_writing_again_changes_nothing(tmp_path):
    assert set(reference.write(tmp_path)) == set(reference.PAGES)
    assert reference.write(tmp_path) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described_with_each_of_its_arguments(name, pages):
    text = pages["cli.md"].partition(f'<a id="{anchor(name)}">')[2].partition("\n### ")[0]
    parser, _ = parser_of(name)
    for _, action in actions_of(parser):
        spelled = action.option_strings or [action.metavar or action.dest.upper()]
        assert all(f"`{each}" in text for each in spelled)
        assert action.help or not action.option_strings, f"{spelled} has no help"
        assert all(each in parser.format_help() for each in spelled)


def test_every_route_is_described(pages):
    for operation in openapi.operations_of(application.app):
        assert f'<a id="route-{operation.view}"></a>{operation.method} `{operation.path}`' in pages["api.md"]


def test_every_schema_is_described_under_an_anchor_of_its_own(pages):
    document = openapi.document(application.app)
    for name in document["components"]["schemas"]:
        assert pages["api.md"].count(f'<a id="schema-{name.lower()}">') == 1


def test_every_error_code_is_described_and_has_one_meaning(pages):
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes))
    for kind in tree():
        assert f"| `{kind.code}` |" in pages["errors.md"]
        assert kind.__doc__


@pytest.mark.parametrize("kind", ANSWERED, ids=lambda kind: kind.code)
def test_the_client_ends_with_the_exit_code_that_is_documented(kind):
    assert from_problem(kind.status, {"code": kind.code, "detail": "…"}).exit_code == kind.exit_code


@pytest.mark.parametrize(
    ("members", "meanings"),
    [
        (State, words.STATES),
        (Event, words.EVENTS),
        (Reason, words.REASONS),
        (TimerKind, words.TIMERS),
        (RunState, words.RUN_STATES),
        (RunReason, words.RUN_REASONS),
        (AttemptState, words.ATTEMPTS),
    ],
)
def test_every_member_of_a_closed_set_has_its_words(members, meanings, pages):
    assert set(meanings) == set(members)
    for member in members:
        assert f"| `{member}` |" in pages["states.md"]


def test_every_variable_that_the_functions_read_is_explained():
    assert list(settings.variables()) == list(words.SETTINGS)


def test_every_variable_that_the_template_sets_is_one_that_the_functions_read():
    variables = template("test", {})["Globals"]["Function"]["Environment"]["Variables"]
    assert set(variables) <= set(words.SETTINGS)


def test_the_settings_show_the_default_and_not_the_probe(pages):
    assert f"| {settings.PROBE} |" not in pages["settings.md"]
    assert "| `TIDEPOOL_UNREACHABLE_S` | 720 |" in pages["settings.md"]


def test_every_function_is_listed(pages):
    config = json.loads((reference.FOLDER.parents[1] / ".chalice/config.json").read_text())
    described = pages["settings.md"].partition("## Functions")[2]
    stages = config.get("stages", {"": config}).values()
    for stage in stages:
        assert described.count("\n| `") == len(stage["lambda_functions"])


def test_every_alarm_says_what_it_means_and_what_to_do():
    resources = template("test", {})["Resources"]
    alarms = {name for name, each in resources.items() if each.get("Type") == "AWS::CloudWatch::Alarm"}
    written = (reference.FOLDER.parent / "operations.md").read_text()
    assert set(re.findall(r"^### (\w+Alarm)$", written, re.MULTILINE)) == alarms


def test_every_dependency_is_justified():
    written = (reference.FOLDER.parent / "decisions/dependencies.md").read_text().lower()
    for line in [*direct("requirements.txt"), *direct("tests/requirements.txt")]:
        assert f"**{line.partition('==')[0].lower()}" in written or f" {line.partition('==')[0].lower()}" in written


def direct(file: str) -> list[str]:
    """The packages that a file asks for itself, above those that they bring along."""
    text = re.split(r"^# What .* brings? along", (ROOT / file).read_text(), maxsplit=1, flags=re.MULTILINE)[0]
    return [line for line in text.splitlines() if "==" in line]


def test_the_architecture_names_only_verbs_that_there_are():
    written = (reference.FOLDER.parent / "architecture.md").read_text()
    section = written.partition("## 4. Services")[2].partition("\n## ")[0]
    listed = re.findall(r"`(\w+)`: `([^`]+)`", section)
    assert len(listed) >= 14
    for module, names in listed:
        verbs = import_module(f"chalicelib.services.{module}")
        for name in names.split(", "):
            assert callable(getattr(verbs, name)), f"{module}.{name}"
