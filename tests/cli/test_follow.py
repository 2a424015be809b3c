"""What is said while a run is followed that does not begin."""

from tests.cli.builders import make_instance, make_run

DONE = {"state": "done", "reason": "exited", "exit_code": 0}
SILENT = {"unreachable": True, "seen_at": "2025-12-31T23:57:50.000Z"}


def job(rank: int, name: str, state: str) -> dict:
    return {"rank": rank, "state": state, "instance": {"instance_id": f"i-{name}", "name": name}}


def test_a_host_on_which_a_run_does_not_begin_is_said_to_be_silent(stub, cli):
    stub.instances = [make_instance(name="box", instance_id="i-box", **SILENT)]
    stub.runs = [make_run(name="mine", state="starting", instance={"instance_id": "i-box", "name": "box"})]
    stub.log_steps = [{}] * 12 + [DONE]
    ended = cli("logs", "-f", "mine")
    assert "run mine: starting on box, which has not been heard of for 2m\n" in ended.err


def test_of_several_nodes_those_are_named_that_have_not_begun(stub, cli):
    stub.instances = [make_instance(name="ga2", instance_id="i-ga2", **SILENT)]
    jobs = [job(0, "ga1", "exited"), job(1, "ga2", "ready")]
    stub.runs = [make_run(name="mine", state="starting", nodes=2, jobs=jobs)]
    stub.log_steps = [{}] * 24 + [DONE]
    ended = cli("logs", "-f", "mine")
    assert "run mine: starting on ga2, which has not been heard of for 2m\n" in ended.err
    assert "ga1" not in ended.err
