"""Offers, instances, leases, tokens, settings, rehearsals, runs: what is asked for, printed, and how it ends."""

import json
import os
import stat

import pytest

from tests.cli.builders import make_attempt, make_instance, make_offer, make_plan, make_run
from tests.cli.stub import Problem


def body(stub, method, ending):
    return stub.seen(method, ending)[-1].body


def test_offers_are_shown_without_buying(stub, cli):
    stub.plan = make_plan(total_offers=5, instances=[make_instance()], warnings=["80 GPUs is a lot"])
    ended = cli("offer", "--gpu", "80GB", "--for-run")
    assert ended.code == 0
    assert "… and 4 more\n" in ended.out
    assert ended.err == "note: 80 GPUs is a lot\n"
    assert "Idle instances that match:\nNAME" in ended.out
    assert [request.method for request in stub.requests] == ["POST"]
    assert body(stub, "POST", "/plan")["for_run"] is True
    stub.plan = make_plan(offers=[], total_offers=0)
    ended = cli("offer", "--json")
    assert ended.code == 7
    assert json.loads(ended.out)["offers"] == []
    assert json.loads(ended.err)["error"]["code"] == "no-offers"


def test_a_plan_says_how_old_its_prices_are_and_what_was_sold_out_a_moment_ago(stub, cli):
    note = "aws: prices of the seed catalog, up to 83 days old"
    sold_out = make_offer(backend="aws", price_source="seed", availability="stocked-out")
    stub.plan = make_plan(offers=[make_offer(), sold_out], total_offers=2, notes=[note])
    ended = cli("offer")
    assert ended.err == f"note: {note}\n"
    first, last = ended.out.splitlines()[-2:]
    assert first.endswith("$3.67 (simulated)")
    assert last.endswith("$3.67 (sold out a moment ago)")


def test_an_instance_is_shown_with_facts_attempts_history_and_cost(stub, cli):
    step = {
        "at": "2025-12-31T23:50:00Z",
        "fence": 1,
        "source": None,
        "target": "pending",
        "reason": "pool-add",
        "actor": "user:ann",
    }
    stub.instances = [
        make_instance(
            facts={"hostname": "box", "docker": True, "gpus": [{"name": "A100", "count": 1}]},
            attempts=[make_attempt()],
            history=[{**step, "detail": ""}],
            spent_micros=1_234_500,
        )
    ]
    out = cli("instance", "show", "calm-heron-10").out
    for line in (
        "Cost so far:   $1.2345",
        "Expires in:    4m 30s",
        "  docker:   yes",
        "  gpus:     name=A100 count=1",
        "1        local    shore-1  tide.a100      no    $3.67 (simulated)  launched  -",
        "2025-12-31T23:50:00Z  -     pending  pool-add  user:ann  -",
    ):
        assert line in out.splitlines()


def test_an_instance_is_changed(stub, cli):
    stub.instances = [make_instance()]
    assert cli("instance", "set", "calm-heron-10", "--cordon", "--idle-duration", "1h").code == 0
    assert body(stub, "PATCH", "calm-heron-10") == {"idle_duration": "1h", "cordoned": True}
    assert cli("instance", "set", "calm-heron-10", "--uncordon").out == "calm-heron-10 idle, idle duration 9m 30s\n"
    assert cli("instance", "set", "calm-heron-10").code == 2


def test_a_lease_is_taken_prolonged_shown_and_given_back(stub, cli):
    assert cli("lease", "acquire", "--gpu", "80GB", "--holder", "ann", "--duration", "2m").out == (
        "Lease:      default-pool.i-1.4\n"
        "Instance:   calm-heron-10\n"
        "Holder:     ann\n"
        "Fence:      4\n"
        "Expires in: 2m\n"
    )  # fmt: skip
    assert body(stub, "POST", "/leases") == {"holder": "ann", "duration_s": 120.0, "requirements": {"gpu": "80GB"}}
    assert cli("lease", "heartbeat", "default-pool.i-1.4", "--duration", "30").code == 0
    assert body(stub, "POST", "/heartbeat") == {"duration_s": 30.0}
    assert json.loads(cli("lease", "show", "default-pool.i-1.4", "--json").out)["fence"] == 4
    assert cli("lease", "release", "default-pool.i-1.4").out == "lease default-pool.i-1.4 released\n"
    assert cli("lease", "show", "other").code == 5


def test_no_match_ends_with_6_and_gives_the_reason_of_each_instance(stub, cli):
    reasons = {"calm-heron-10": "is busy", "b": "GPU memory 40GB is not 80GB"}
    stub.refusals[("POST", "leases")] = Problem(409, "no-match", "no idle instance matches", reasons=reasons)
    ended = cli("lease", "acquire")
    assert ended.code == 6
    assert ended.err == "error: no idle instance matches\n  calm-heron-10: is busy\n  b: GPU memory 40GB is not 80GB\n"


def test_a_token_is_shown_once_and_alone(stub, cli):
    ended = cli("token", "create", "ci", "--role", "user")
    assert ended.out == "tp.t1.very-secret\n"
    assert "very-secret" not in ended.err
    assert "very-secret" not in cli("token", "list").out
    assert cli("token", "revoke", "t1").out == "token t1 revoked\n"
    assert cli("token", "create", "ci", "--role", "king").code == 2


def test_logging_in_checks_and_stores(stub, cli, tmp_path):
    environ = {"HOME": str(tmp_path / "home")}
    ended = cli("login", stub.url, stdin="tp.stub.secret\n", environ=environ)
    path = tmp_path / "home" / ".config" / "tidepool" / "config.json"
    assert ended.out == f"logged in as ann (admin), project main; stored in {path}\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert cli("pool", "list", environ=environ).code == 0
    shown = cli("config", environ=environ)
    assert stub.url in shown.out
    assert "tp.stub.secret" not in shown.out + shown.err


def test_a_wrong_token_is_not_stored(stub, cli, tmp_path):
    environ = {"HOME": str(tmp_path / "home")}
    ended = cli("login", stub.url, stdin="wrong\n", environ=environ)
    assert (ended.code, "wrong" in ended.err) == (3, False)
    assert not (tmp_path / "home").exists()
    assert cli("login", stub.url, stdin="\n", environ=environ).code == 2


def local_cloud(stub, home):
    return {"TIDEPOOL_LOCAL_CLOUD_URL": stub.url, "TIDEPOOL_LOCAL_CLOUD_KEY": "k", "HOME": str(home)}


def test_faults_of_the_local_cloud_are_scripted(stub, cli, tmp_path):
    environ = local_cloud(stub, tmp_path)
    assert cli("rehearse", "list", environ=environ).out == "no faults\n"
    cli("rehearse", "set", "no-capacity", "--region", "shore-1", "--count", "2", environ=environ)
    assert cli("rehearse", "set", "boot-delay", "--value", "3", environ=environ).out == (
        "FAULT        TYPE  REGION   LEFT         VALUE\n"
        "no-capacity  -     shore-1  2            -\n"
        "boot-delay   -     -        until reset  3\n"
    )
    assert stub.rehearsal == [
        {"fault": "no-capacity", "region": "shore-1", "count": 2},
        {"fault": "boot-delay", "value": 3},
    ]
    assert stub.requests[-1].headers["authorization"] == "Bearer k"
    cli("rehearse", "set", "silent", "--only", environ=environ)
    assert stub.rehearsal == [{"fault": "silent"}]
    assert cli("rehearse", "reset", "--json", environ=environ).out == "[]\n"


@pytest.mark.parametrize(
    ("status", "refusal", "code", "told"),
    [
        (
            422,
            {"code": "invalid-request", "message": "fault: expected one of quota, silent", "field": "[0].fault"},
            2,
            "error: fault: expected one of quota, silent\n  field: [0].fault\n",
        ),
        (403, {"code": "bad-key", "message": "the key is missing or wrong"}, 3, "error: the key is missing or wrong\n"),
    ],
)
def test_the_local_cloud_s_own_words_are_shown(stub, cli, tmp_path, status, refusal, code, told):
    problem = Problem(status, "")
    problem.body = {"error": refusal}
    stub.refusals[("PUT", "/rehearsal")] = problem
    ended = cli("rehearse", "set", "nope", environ=local_cloud(stub, tmp_path))
    assert (ended.code, ended.err) == (code, told)


@pytest.mark.parametrize("name", ["m-2", "calm-heron-10", "i-0abc"])
def test_the_machine_of_an_instance_is_preempted(stub, cli, tmp_path, name):
    stub.machines = [
        {"id": "m-1", "tags": {}},
        {"id": "m-2", "tags": {"tidepool-name": "calm-heron-10", "tidepool-instance": "i-0abc"}},
    ]
    ended = cli("rehearse", "preempt", name, "--after", "30s", environ=local_cloud(stub, tmp_path))
    assert (ended.code, ended.out) == (0, f"machine m-2 of {name} ends in 30s\n")
    assert stub.seen("POST", "/machines/m-2/preempt")[0].body == {"after_s": 30.0}


def test_preempting_what_the_local_cloud_does_not_have_is_not_found(stub, cli, tmp_path):
    ended = cli("rehearse", "preempt", "nope", environ=local_cloud(stub, tmp_path))
    assert (ended.code, ended.err) == (4, "error: the local cloud has no machine of nope\n")


def test_runs_are_listed(stub, cli):
    stub.runs = [make_run(), make_run(name="old", state="failed", reason="exited-non-zero", exit_code=3)]
    assert cli("ps", "--all").out == (
        "NAME            POOL          INSTANCE       STATUS                CREATED  COMMAND\n"
        "brave-otter-42  default-pool  calm-heron-10  running               1m ago   python train.py\n"
        "old             default-pool  calm-heron-10  failed (exit code 3)  1m ago   python train.py\n"
    )
    assert [run["name"] for run in json.loads(cli("ps", "--json").out)] == ["brave-otter-42"]


@pytest.mark.parametrize(
    ("retry_at", "when"), [("2026-01-01T00:00:21.000Z", "in 21s"), ("2025-12-31T23:59:59.000Z", "now")]
)
def test_a_run_that_waits_for_its_next_try_says_when_it_has_it(stub, cli, retry_at, when):
    stub.runs = [make_run(state="submitted", reason="exited-non-zero", instance=None, tries=2, retry_at=retry_at)]
    assert f"  submitted (try 2 {when})  " in cli("ps", "--all").out
    assert json.loads(cli("ps", "--all", "--json").out)[0]["retry_at"] == retry_at


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ({"state": "stopped", "reason": "max-duration", "exit_code": 0}, "stopped (max-duration 1h 30m)"),
        ({"state": "stopped", "reason": "max-duration"}, "stopped (max-duration 1h 30m)"),
        ({"state": "stopped", "reason": "user-stopped", "exit_code": 0}, "stopped (user-stopped)"),
        ({"state": "failed", "reason": "interrupted", "exit_code": 0}, "failed (interrupted)"),
        ({"state": "failed", "reason": "interrupted", "exit_code": 143}, "failed (interrupted, exit code 143)"),
        ({"state": "failed", "reason": "machine-lost"}, "failed (machine-lost)"),
    ],
)
def test_what_ended_a_run_is_told_before_what_its_job_said(stub, cli, end, status):
    times = {"started_at": "2026-01-01T00:00:00.000Z", "ends_by": "2026-01-01T01:30:00.000Z"}
    stub.runs = [make_run(**times, **end)]
    assert f"  {status}  " in cli("ps", "--all").out


def test_a_run_is_stopped_and_waited_for(stub, cli):
    stub.runs = [make_run()]
    stub.on_request = lambda request: (
        request.path.endswith("/run-brave-otter-42")
        and stub.runs[0].update(state="stopped", reason="user-stopped", exit_code=143)
    )
    assert cli("stop", "brave-otter-42", "--force").out == "brave-otter-42 stopped (user-stopped, exit code 143)\n"
    assert body(stub, "POST", "/stop") == {"force": True}
