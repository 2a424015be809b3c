"""What goes wrong, and help: messages, exit codes, and where they are documented."""

import json

import pytest

from tests.cli.stub import Problem
from tidepool.help import TOPICS


def body(stub, method, ending):
    return stub.seen(method, ending)[-1].body


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("nope", "there is no command `tidepool nope`"),
        ("--json pool", "--json comes after the command"),
        ("pool sp", "did you mean `tidepool pool ps`?"),
        ("pool ps --nope", "unrecognized arguments: --nope"),
        ("pool create", "the following arguments are required: NAME"),
        ("pool create Bad_Name", "'Bad_Name' is no name"),
        ("pool create -x-", "required: NAME"),
        ("pool add --max-price 0", "'0' is no price"),
        ("pool add --max-price nan", "'nan' is no price"),
        ("pool add --spot --on-demand", "not allowed with argument"),
        ("pool add --idle-duration=-5m", "argument --idle-duration: '-5m' is negative; a duration is 45s, 5m"),
        ("pool add --idle-duration -5m", "expected one argument (one that begins with - is written --option=VALUE)"),
        ("instance set a --idle-duration=-5m", "'-5m' is negative"),
        ("run --kill-after=-5s -- true", "'-5s' is negative"),
        ("token create \u2003", "argument NAME: '\\u2003' is no name"),
        ("run -y -- true", "unrecognized arguments: -y"),
        ("lease acquire --max-offers 3", "unrecognized arguments: --max-offers"),
        ("pool add --max-offers 0", "'0' is no count"),
        ("pool ps --interval 0", "--interval"),
        ("run", "Put it after `--`"),
        ("run true", "unrecognized arguments: true"),
        ("run -e NOVALUE -- true", "-e/--env: 'NOVALUE' is to come from this environment, and is not set in it"),
        ("run -e 1=2 -- true", "'1=2' is neither NAME=VALUE nor NAME"),
        ("run --no-retry --retry-on error -- true", "--no-retry: not allowed with argument --retry-on"),
        ("run --no-retry --retry-duration 1h -- true", "--no-retry: not allowed with argument --retry-duration"),
        ("run --retry-on sometimes -- true", "argument --retry-on: invalid choice"),
        ("run --kill-after soon -- true", "'soon' is no duration"),
        ("lease acquire --duration -1", "duration"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_why(stub, cli, words, told):
    ended = cli(*words.split(" "))
    assert (ended.code, ended.out, stub.requests) == (2, "", [])
    assert told in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("instance show {}", "NAME"),
        ("instance set {} --cordon", "NAME"),
        ("pool rm -y {}", "NAME"),
        ("pool rm -y good {}", "NAME"),
        ("pool create {}", "NAME"),
        ("logs {}", "RUN"),
        ("stop {}", "RUN"),
        ("lease show {}", "LEASE"),
        ("lease heartbeat {}", "LEASE"),
        ("lease release {}", "LEASE"),
        ("token revoke {}", "ID"),
        ("rehearse preempt {}", "NAME"),
        ("pool ps --pool {}", "--pool"),
        ("pool list --project {}", "--project"),
        ("run --name {} -- true", "-n/--name"),
    ],
)
@pytest.mark.parametrize("value", ["", " ", "../pools", "a b", "caf\u00e9", "A"])
def test_what_can_be_no_name_is_refused_before_anything_is_asked(stub, cli, command, argument, value):
    ended = cli(*(value if word == "{}" else word for word in command.split()))
    assert (ended.code, ended.out, stub.requests) == (2, "", [])
    assert f"argument {argument}: {value!r} is" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        "{}",
        "pool ps {}",
        "pool ps --pool {}",
        "token create a --role {}",
        "pool add --max-price {}",
        "instance show {}",
    ],
)
def test_a_long_value_is_not_repeated_at_length(stub, cli, words):
    ended = cli(*words.format("x" * 5000).split())
    assert (ended.code, stub.requests) == (2, [])
    assert 0 < ended.err.count("x") <= 210


def test_a_long_value_that_the_api_refuses_is_not_repeated_at_length(stub, cli):
    stub.refusals[("POST", "plan")] = Problem(422, "invalid-input", "no", field="gpu", given="x" * 5000, expected="y")
    for more in ((), ("--json",)):
        ended = cli("pool", "add", "-y", *more)
        assert (ended.code, 0 < ended.err.count("x") <= 202) == (2, True)


def test_a_field_that_is_missing_is_said_to_be_required(stub, cli):
    problem = {"field": "name", "given": None, "expected": "Field required"}
    stub.refusals[("POST", "plan")] = Problem(422, "invalid-input", "name: expected Field required", **problem)
    assert cli("pool", "add", "-y").err == "error: name: is required\n"
    stub.refusals[("POST", "plan")] = Problem(422, "invalid-input", "that is not valid", **problem)
    assert cli("pool", "add", "-y").err == "error: that is not valid\n  name: is required\n"


def test_a_url_without_a_token_says_where_one_comes_from(stub, cli, tmp_path):
    ended = cli("pool", "list", environ={"TIDEPOOL_URL": stub.url, "HOME": str(tmp_path)})
    assert (ended.code, ended.err) == (3, "error: no token: set TIDEPOOL_TOKEN or run tidepool login\n")
    assert stub.requests == []


def test_the_api_s_view_of_a_bad_value_names_field_given_and_expected(stub, cli):
    stub.refusals[("POST", "plan")] = Problem(
        422,
        "invalid-input",
        "that is not valid",
        field="requirements.gpu",
        given="A100:",
        expected="a GPU such as A100:2",
    )
    assert cli("pool", "add", "--gpu", "A100:").err == (
        "error: that is not valid\n  field: requirements.gpu\n  given: A100:\n  expected: a GPU such as A100:2\n"
    )


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "unauthenticated", 3), (403, "forbidden", 3), (404, "not-found", 4), (500, "internal", 1)],
)
def test_refusals_have_their_exit_codes_and_json_errors_go_to_stderr(stub, cli, status, code, exit_code):
    stub.refusals[("GET", "pools")] = Problem(status, code, "because")
    assert cli("pool", "list").code == exit_code
    ended = cli("pool", "list", "--json")
    assert (ended.code, ended.out) == (exit_code, "")
    assert json.loads(ended.err) == {"error": {"code": code, "status": status, "detail": "because"}}


def test_an_unforeseen_failure_is_a_sentence_and_with_debug_a_traceback(stub, cli, monkeypatch):
    stub.pools = [{"odd": 1}]
    ended = cli("pool", "list")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: unexpected KeyError: 'name'")
    monkeypatch.setenv("TIDEPOOL_DEBUG", "1")
    with pytest.raises(KeyError):
        cli("pool", "list")


@pytest.mark.parametrize("words", ["", "--help", "-h", "help", *(f"help {topic}" for topic in TOPICS)])
def test_help_needs_no_control_plane(cli, words):
    ended = cli(*words.split(), environ={})
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out) > 200


def test_every_command_has_help_and_json(cli):
    from tidepool.main import COMMANDS

    for command in COMMANDS:
        ended = cli(*command.split(), "--help", environ={})
        assert (ended.code, ended.err) == (0, ""), command
        assert f"tidepool {command}" in ended.out
        assert "pool add-\n" not in ended.out  # examples are there to be copied
        assert "--json" in ended.out or command == "run"


def test_the_exit_codes_are_documented_alike():
    from tests.cli.conftest import CLI
    from tidepool import errors
    from tidepool.help import EXIT_CODES

    told = {line.split()[0] for line in EXIT_CODES.splitlines() if line.startswith("  ")}
    readme = {
        line.split("|")[1].strip() for line in (CLI / "README.md").read_text().splitlines() if line.startswith("| ")
    }
    used = {
        str(error.exit_code)
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.TidepoolError)
    }
    assert told == {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "125", "130"}
    assert told <= readme
    assert used <= told


def test_versions(cli):
    assert cli("version").out == cli("--version").out == "tidepool 0.1.0\n"
    assert json.loads(cli("version", "--json").out) == {"version": "0.1.0"}
