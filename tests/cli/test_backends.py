"""`tidepool backend`: where a secret comes from, what is sent, how the checks are shown, how it ends."""

import json

import pytest

from tests.cli.builders import make_backend
from tests.cli.conftest import settings
from tests.cli.stub import Problem

GOOD = {"name": "credentials", "ok": True, "detail": "account 42", "fix": ""}
BAD = {"name": "rights", "ok": False, "detail": "may not launch", "fix": "allow ec2:RunInstances"}
AZURE = (
    *("backend", "add", "azure", "--subscription", "s", "--tenant", "t", "--client-id", "c"),
    *("--resource-group", "g", "--region", "westeurope"),
)


def sent(stub):
    return stub.seen("POST", "/backends")[-1].body


def test_a_role_needs_no_secret(stub, cli):
    stub.checks = [GOOD]
    words = ("--role-arn", "arn:aws:iam::1:role/tidepool-x", "--external-id", "e", "-r", "eu-west-1", "-r", "us-east-1")
    ended = cli("backend", "add", "aws", *words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1:] == ["credentials  ok      account 42", "backend aws added"]
    assert sent(stub)["credentials"] == {}
    assert sent(stub)["config"] == {
        "role_arn": "arn:aws:iam::1:role/tidepool-x",
        "external_id": "e",
        "regions": ["eu-west-1", "us-east-1"],
    }


def test_a_secret_comes_from_a_file_from_the_environment_or_from_standard_input(stub, cli, tmp_path):
    file = tmp_path / "secret"
    file.write_text("from-file\n")
    cli(*AZURE, "--secret-file", str(file))
    assert sent(stub)["credentials"] == {"client_secret": "from-file"}
    cli(*AZURE, environ={**settings(stub, tmp_path), "TIDEPOOL_BACKEND_SECRET": "from-environment"})
    assert sent(stub)["credentials"] == {"client_secret": "from-environment"}
    cli(*AZURE, "--secret-file", "-", stdin="from-stdin\n")
    assert sent(stub)["credentials"] == {"client_secret": "from-stdin"}
    file.write_text('{"secret_access_key": "from-json"}')
    cli("backend", "add", "aws", "--access-key-id", "AKIA", "--secret-file", str(file))
    assert sent(stub)["credentials"] == {"access_key_id": "AKIA", "secret_access_key": "from-json"}


def test_a_secret_is_never_printed(stub, cli, tmp_path):
    stub.checks = [BAD]
    for words in (AZURE, (*AZURE, "--no-check"), (*AZURE, "--no-check", "--json"), (*AZURE, "--json")):
        ended = cli(*words, environ={**settings(stub, tmp_path), "TIDEPOOL_BACKEND_SECRET": "very-secret"})
        assert "very-secret" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (AZURE, "--secret-file"),
        (("backend", "add", "aws", "--access-key-id", "AKIA"), "TIDEPOOL_BACKEND_SECRET"),
        (("backend", "add", "aws", "--tenant", "t"), "belongs to azure"),
        (("backend", "add", "aws"), "say how to get in: --role-arn ARN"),
        (("backend", "add", "aws", "--access-key-id", "AKIA", "--role-arn", "r"), "exclude each other"),
        ((*AZURE, "--secret-file", "-"), "empty"),
        (("backend", "add", "moon", "--secret-file", "SECRET"), "JSON object"),
        (("backend", "add", "aws", "--config", "SECRET"), "JSON object"),
        (("backend", "add", "aws", "--config", "nowhere.json"), "nowhere.json"),
        (("backend", "add", "Not A Kind"), "KIND"),
    ],
)
def test_what_cannot_be_sent_is_said_without_a_secret(stub, cli, tmp_path, words, said):
    (tmp_path / "SECRET").write_text("very-secret")
    ended = cli(*(str(tmp_path / word) if word == "SECRET" else word for word in words))
    assert ended.code == 2
    assert said in ended.err
    assert "very-secret" not in ended.err
    assert not stub.seen("POST", "/backends")


def test_a_file_has_the_rest_of_the_settings_and_options_win(stub, cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"disk_gb": 200, "regions": ["us-east-1"]}')
    cli("backend", "add", "aws", "--config", str(file), "--role-arn", "r", "-r", "eu-west-1", "--name", "mine")
    assert sent(stub)["config"] == {"disk_gb": 200, "regions": ["eu-west-1"], "role_arn": "r"}
    assert sent(stub)["name"] == "mine"


def test_a_refused_addition_shows_each_check_with_its_fix(stub, cli):
    stub.checks = [GOOD, BAD]
    ended = cli("backend", "add", "aws", "--role-arn", "r")
    assert ended.code == 8
    assert ended.err.splitlines()[1:] == [
        "  ok      credentials: account 42",
        "  failed  rights: may not launch",
        "          fix: allow ec2:RunInstances",
    ]
    assert "unchecked" in cli("backend", "add", "aws", "--role-arn", "r", "--no-check").out


def test_of_a_name_that_is_taken_the_option_that_replaces_is_named(stub, cli):
    stub.refusals[("POST", "backends")] = Problem(409, "already-exists", "backend 'aws' exists")
    ended = cli("backend", "add", "aws", "--role-arn", "r")
    assert ended.code == 5
    assert ended.err.endswith("  fix: --replace gives it these settings and credentials\n")


def test_replaced_settings_are_said_to_be_new(stub, cli):
    assert cli("backend", "add", "aws", "--role-arn", "r", "--replace").out.endswith("backend aws has new settings\n")


def test_a_test_shows_the_checks_and_ends_with_8_when_one_fails(stub, cli):
    stub.backends, stub.checks = [make_backend()], [GOOD]
    assert cli("backend", "test", "aws").code == 0
    stub.checks = [GOOD, BAD]
    ended = cli("backend", "test", "aws")
    assert ended.code == 8
    assert ended.out.splitlines() == [
        "CHECK        RESULT  DETAIL",
        "credentials  ok      account 42",
        "rights       failed  may not launch",
        "fix rights: allow ec2:RunInstances",
    ]
    shown = cli("backend", "test", "aws", "--json")
    assert (shown.code, json.loads(shown.out)["ok"]) == (8, False)
    assert cli("backend", "test", "nothing").code == 4


def test_backends_are_listed_with_account_state_and_last_check(stub, cli):
    checkup = {"at": "2025-12-31T23:00:00.000Z", "ok": False, "checks": [BAD]}
    local = make_backend(name="local", kind="local", built_in=True, config={})
    known = {"checkup": checkup, "catalog_at": "2025-12-31T21:00:00.000Z"}
    stub.backends = [local, make_backend(config={"role_arn": "arn", "regions": ["a", "b"]}, **known)]
    assert cli("backend", "list").out.splitlines() == [
        "NAME   KIND   REGIONS  ACCOUNT   STATE  CHECKED        CATALOG",
        "local  local  -        built in  open   -              -",
        "aws    aws    a, b     arn       open   failed 1h ago  3h old",
    ]
    assert json.loads(cli("backend", "list", "--json").out) == stub.backends


def test_backends_are_removed_after_a_yes(stub, cli):
    stub.backends = [make_backend(), make_backend(name="other")]
    assert cli("backend", "rm", "aws", stdin="n\n").code != 0
    assert len(stub.backends) == 2
    ended = cli("backend", "rm", "aws", "other", stdin="y\n")
    assert (ended.code, ended.out) == (0, "backend aws removed\nbackend other removed\n")
    assert cli("backend", "rm", "aws", "-y").code == 4
    assert cli("backend", "rm", "aws", "--json").code == 2
