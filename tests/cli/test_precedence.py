"""Command line before run file before profile before default: for every key, and every command that has it."""

import json
from itertools import product

import pytest

from chalicelib.api import schemas
from chalicelib.domain import gpu_requirements
from chalicelib.domain import policies as domain
from tests.cli.builders import make_plan
from tidepool import wire
from tidepool.command import make_parser
from tidepool.commands.offer import ShowOffers
from tidepool.commands.pool_add import AddInstance
from tidepool.commands.run import Run
from tidepool.keys import BY_NAME, GPU_PARTS, KEYS, RENAMED
from tidepool.options import RETRY_EVENTS, SPOT_POLICIES

VALUES = {
    "pool": ("low", "mid", "--pool=high", "high"),
    "instance": ("low", "mid", "--instance=high", "high"),
    "reuse": (False, True, "--no-reuse", None),
    "cpu": ("2", "4..8", "--cpu=16", "16"),
    "memory": ("8GB", "16GB..", "--memory=32GB", "32GB"),
    "gpu": ("A100", "H100:80GB:2", "--gpu=24GB", "24GB"),
    "disk": ("100GB", "200GB", "--disk=300GB", "300GB"),
    "shared_memory": ("1GB", "2GB", "--shared-memory=3GB", "3GB"),
    "allow_gpu": (False, True, "--no-allow-gpu", False),
    "backends": (["a", "b"], ["c"], "-b=d", ["d"]),
    "regions": (["a", "b"], [], "-r=d", ["d"]),
    "instance_types": (["a"], ["b", "c"], "--instance-type=d", ["d"]),
    "spot_policy": ("spot", "on-demand", "--spot-auto", "auto"),
    "max_price": (1.5, 2.5, "--max-price=3.5", 3.5),
    "idle_duration": ("1m", "off", "--idle-duration=3m", "3m"),
    "max_duration": ("1h", "2h", "--max-duration=off", "off"),
    "retry": (True, {"on_events": ["error"], "duration": "2h"}, "--no-retry", False),
}
"""What the profile says, what the run file says, the option, and what the option's value is in the request."""

COMMANDS = {
    "run": ("run", "-d", "--no-code", "-f", "file.yml"),
    "pool add": ("pool", "add", "-y", "--no-wait", "-f", "file.yml"),
    "offer": ("offer", "-f", "file.yml"),
}
ENDINGS = {"run": "/runs", "pool add": "/instances", "offer": "/plan"}
KEYS_OF = [(command, key) for command in COMMANDS for key in KEYS if command == "run" or not key.run_only]


def written(key, value):
    """A file's part: the key at its place. JSON is YAML too."""
    return {key.section: {key.name: value}} if key.section else {key.name: value}


def write(tmp_path, *, profile=None, run_file=None):
    (tmp_path / ".tidepool").mkdir(exist_ok=True)
    named = {"name": "p", "default": True, **(profile or {})}
    (tmp_path / ".tidepool" / "profiles.yml").write_text(json.dumps({"profiles": [named]}))
    (tmp_path / "file.yml").write_text(json.dumps({"commands": ["true"], **(run_file or {})}))


def sent(stub, command, key):
    body = stub.seen("POST", ENDINGS[command])[-1]
    if key.name == "pool" and command == "pool add":
        return body.path.split("/")[-2]
    return (body.body.get("requirements") or {}).get(key.name) if key.section else body.body.get(key.name)


def test_the_cases_cover_the_table():
    assert list(VALUES) == [key.name for key in KEYS]


@pytest.mark.parametrize(("command", "key"), KEYS_OF, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize(("in_profile", "in_file", "on_line"), list(product((False, True), repeat=3)))
def test_the_first_source_that_says_something_wins(stub, cli, tmp_path, command, key, in_profile, in_file, on_line):
    low, mid, option, high = VALUES[key.name]
    write(
        tmp_path,
        profile=written(key, low) if in_profile else None,
        run_file=written(key, mid) if in_file else None,
    )
    words = (*COMMANDS[command], *([option] if on_line else []))
    ended = cli(*words)
    assert ended.code == 0, ended.err
    wanted = high if on_line else mid if in_file else low if in_profile else None
    if key.name == "pool" and command == "pool add" and wanted is None:
        wanted = "default-pool"  # the plan's answer
    if key.name == "reuse":
        wanted = wanted or None  # false is what it is anyway
    assert sent(stub, command, key) == wanted


@pytest.mark.parametrize(("command", "key"), KEYS_OF, ids=lambda value: getattr(value, "name", value))
def test_explain_names_the_source_of_every_key(stub, cli, tmp_path, command, key):
    low, mid, option, _ = VALUES[key.name]
    name = f"{key.section}.{key.name}" if key.section else key.name

    def source(*words):
        ended = cli(*COMMANDS[command], *words, "--explain", "--json")
        assert ended.code == 0, ended.err
        return next(each["source"] for each in json.loads(ended.out)["explain"] if each["key"] == name)

    write(tmp_path)
    assert source() == "default"
    write(tmp_path, profile=written(key, low))
    assert source() == "profile p of .tidepool/profiles.yml:1"
    write(tmp_path, profile=written(key, low), run_file=written(key, mid))
    assert source() == "file.yml:1"
    assert source(option).startswith("--")
    assert [request.path.rpartition("/")[2] for request in stub.requests] == ["plan"] * 4


def test_the_table_has_every_policy_of_the_api_and_every_option_has_a_key():
    fields = {key.field.partition(".")[0] for key in KEYS}
    assert set(schemas.PolicyFields.model_fields) == fields - {"pool", "instance", "reuse"}
    assert set(wire.Requirements.__annotations__) == {key.name for key in KEYS if key.section}
    assert set(RETRY_EVENTS) == {event.value for event in domain.RetryEvent}
    assert set(SPOT_POLICIES) == {policy.value for policy in domain.SpotPolicy}
    assert {BY_NAME[new].name for new in RENAMED.values()} <= set(BY_NAME)
    assert gpu_requirements.KEYS == GPU_PARTS


OTHER = frozenset(
    {
        "help", "project", "json", "explain", "profile", "file", "yes", "name", "wait", "max_offers", "for_run",
        "detach", "env", "image", "nodes", "no_code", "kill_after", "retry_duration", "retry_on",
    }
)  # fmt: skip


@pytest.mark.parametrize("command", [Run, AddInstance, ShowOffers])
def test_an_option_is_a_key_of_the_table_or_no_policy(command):
    dests = {action.dest for action in make_parser("x", command())._actions}
    known = {key.dest for key in KEYS if command is Run or not key.run_only}
    assert dests - OTHER == known


def test_what_the_server_shows_of_its_policies_is_what_explain_reads():
    doc = domain.to_doc(domain.parse({}, defaults=domain.RUN)[0])
    for key in KEYS:
        if key.name not in ("pool", "instance", "reuse"):
            assert key.shown in (doc["requirements"] if key.section else doc), key.name


@pytest.mark.parametrize(
    ("profile", "run_file", "words", "wanted"),
    [
        (True, None, "", True),
        (True, False, "", False),
        ({"duration": "3h"}, None, "--retry", True),
        ({"on_events": ["error"], "duration": "3h"}, None, "--retry-duration=1h",
         {"on_events": ["error"], "duration": "1h"}),
        ({"duration": "3h"}, {"on_events": ["error"]}, "", {"on_events": ["error"], "duration": "3h"}),
        ({"duration": "3h"}, {"on_events": ["error"]}, "--retry-on=interruption",
         {"on_events": ["interruption"], "duration": "3h"}),
        ({"duration": "3h"}, False, "--retry-on=interruption", {"on_events": ["interruption"]}),
        (None, None, "--retry-on=error --retry-on=interruption --retry-duration=2h",
         {"on_events": ["error", "interruption"], "duration": "2h"}),
        (None, None, "--retry --retry-duration=2h", {"duration": "2h"}),
        ({"duration": "3h"}, True, "--no-retry", False),
    ],
)  # fmt: skip
def test_a_part_of_retry_that_is_not_said_is_the_next_source_s(stub, cli, tmp_path, profile, run_file, words, wanted):
    write(
        tmp_path,
        profile=None if profile is None else {"retry": profile},
        run_file=None if run_file is None else {"retry": run_file},
    )
    assert cli(*COMMANDS["run"], *words.split()).code == 0
    assert sent(stub, "run", BY_NAME["retry"]) == wanted


def test_adding_tries_again_when_the_profile_says_so(stub, cli, tmp_path):
    stub.plan = make_plan(offers=[], total_offers=0)
    write(tmp_path, profile={"retry": True})
    assert cli(*COMMANDS["pool add"]).code == 0
    assert cli(*COMMANDS["pool add"], "--no-retry").code == 7


def test_explain_is_a_table_with_the_servers_defaults(stub, cli, tmp_path):
    doc = domain.to_doc(domain.parse({"retry": True, "requirements": {"gpu": "80"}}, defaults=domain.RUN)[0])
    stub.plan = make_plan(policies=doc, warnings=["gpu 80 asks for 80 GPUs"], notes=["prices are 3 days old"])
    write(tmp_path, profile={"retry": True, "max_price": 2.5}, run_file={"env": {"SECRET": "hunter2"}})
    ended = cli(*COMMANDS["run"], "--explain", "--gpu", "80", "--retry-duration", "2h")
    assert ended.code == 0
    told = {line.split("  ")[0]: line.split() for line in ended.out.splitlines()}
    assert told["KEY"] == ["KEY", "VALUE", "SOURCE"]
    assert told["command"] == ["command", "true", "file.yml:1"]
    assert told["resources.cpu"] == ["resources.cpu", "2..", "default"]
    assert told["resources.memory"] == ["resources.memory", "8GB..", "default"]
    assert told["resources.gpu"] == ["resources.gpu", "80", "--gpu"]
    assert told["idle_duration"] == ["idle_duration", "5m", "default"]
    assert told["max_price"][1:] == ["2.5", "profile", "p", "of", ".tidepool/profiles.yml:1"]
    assert told["retry"][-1] == "--retry-duration"
    assert "hunter2" not in ended.out + ended.err
    assert ended.err == "note: prices are 3 days old\nnote: gpu 80 asks for 80 GPUs\n"
    assert stub.seen("POST", "/runs") == []


def test_explaining_what_nothing_fits_says_why_and_ends_with_0(stub, cli, tmp_path):
    stub.plan = make_plan(offers=[], total_offers=0, filters=["gpu: no offer has 80 GPUs"])
    ended = cli("pool", "add", "--gpu", "80", "--explain")
    assert ended.code == 0
    assert ended.out.endswith("no offer fits these requirements\n  gpu: no offer has 80 GPUs\n")
    assert stub.seen("POST", "/instances") == []


def test_a_refused_value_of_a_file_is_told_with_its_place(stub, cli, tmp_path):
    from tests.cli.stub import Problem

    write(tmp_path, profile={"resources": {"gpu": "A100:-1"}})
    stub.refusals[("POST", "plan")] = Problem(
        422,
        "invalid-input",
        "requirements.gpu: '-1' is wrong",
        field="requirements.gpu",
        given="-1",
        expected="a count",
    )
    ended = cli("offer")
    assert (ended.code, ended.out) == (2, "")
    assert "said by profile p of .tidepool/profiles.yml:1" in ended.err
    assert "said by" not in cli("offer", "--gpu", "A100:-1").err
