"""Machines of a real local cloud: processes that run, crash, are taken away, and leave nothing."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.cloud import processes, supervisor
from tests.infra_cloud.process import CloudProcess, eventually

NAMES = iter(f"machine-{number}" for number in range(10_000))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    server = CloudProcess(tmp_path_factory.mktemp("cloud") / "state with a space").start()
    yield server
    server.stop()


@pytest.fixture
def cloud(shared: CloudProcess) -> Iterator[CloudProcess]:
    """A cloud without machines and faults, which ends the test in the same way."""
    yield shared
    shared.clear()


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[CloudProcess]:
    """A cloud that the test may stop, kill and start again."""
    server = CloudProcess(tmp_path / "state")
    yield server
    if not server.is_running:
        server.start()
    server.clear()
    server.stop()


def order(user_data: str, **changes: object) -> dict[str, object]:
    return {"name": next(NAMES), "type": "cpu-small", "region": "local-north", "user_data": user_data, **changes}


def launch(cloud: CloudProcess, user_data: str = "exec sleep 600", **changes: object) -> str:
    answer = cloud.call("POST", "/machines", order(user_data, **changes))
    assert answer.status == 201, answer.text
    return answer.body["id"]


def refused(cloud: CloudProcess, **changes: object) -> tuple[int, str]:
    answer = cloud.call("POST", "/machines", order("exec sleep 600", **changes))
    return answer.status, answer.body["error"]["code"]


def phase(cloud: CloudProcess, machine: str) -> str:
    return cloud.call("GET", f"/machines/{machine}").body["phase"]


def is_gone(cloud: CloudProcess, machine: str) -> bool:
    return phase(cloud, machine) == "gone"


def written(cloud: CloudProcess, machine: str, name: str) -> str:
    """What the machine has written to a file of its own, once there is something."""
    path = cloud.state / machine / name
    return eventually(lambda: path.exists() and path.read_text())


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_machine_runs_its_user_data_in_its_folder_with_a_fixed_environment(cloud):
    machine = launch(cloud, "env > seen.new; pwd >> seen.new; mv seen.new seen; exec sleep 600")
    seen = written(cloud, machine, "seen")
    folder = str(cloud.state / machine)
    assert f"HOME={folder}\n" in seen
    assert f"TIDEPOOL_HOME={folder}/tidepool\n" in seen
    assert f"PATH={folder}/bin:" in seen
    assert "A_SECRET_OF_THE_SERVER" not in seen
    assert "TIDEPOOL_LOCAL_CLOUD_KEY" not in seen
    eventually(lambda: phase(cloud, machine) == "running")


def test_the_python_of_a_machine_works(cloud):
    machine = launch(
        cloud, "python3 -c 'import ssl, json, sqlite3; print(1)' > out.new; mv out.new out; exec sleep 600"
    )
    assert written(cloud, machine, "out") == "1\n"


def test_user_data_that_ends_is_started_again(cloud):
    machine = launch(cloud, "echo started >> starts; exit 3")
    eventually(lambda: written(cloud, machine, "starts").count("started") >= 3)
    assert "ended with 3" in written(cloud, machine, "console.log")
    assert phase(cloud, machine) == "running"


def test_a_machine_that_powers_itself_off_is_gone_and_not_started_again(cloud):
    machine = launch(cloud, 'echo x >> "$HOME/../off-count"; setsid sleep 600 & sh -c "$TIDEPOOL_POWEROFF"; sleep 600')
    eventually(lambda: is_gone(cloud, machine))
    assert not processes.living(machine)
    assert not (cloud.state / machine).exists()
    assert (cloud.state / "off-count").read_text() == "x\n"


def test_ending_a_machine_ends_jobs_in_sessions_of_their_own_whose_parent_is_gone(cloud):
    machine = launch(cloud, "(setsid sh -c 'echo $$ > job.new; mv job.new job; exec sleep 600' &) ; exec sleep 600")
    job = int(written(cloud, machine, "job"))
    assert is_alive(job)
    cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(cloud, machine))
    assert not is_alive(job)


def test_a_job_that_cleared_its_environment_ends_with_its_parent(cloud):
    machine = launch(cloud, "env -i setsid sh -c 'echo $$ > job.new; /bin/mv job.new job; exec /bin/sleep 600' ; true")
    job = int(written(cloud, machine, "job"))
    cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(cloud, machine))
    assert not is_alive(job)


def test_a_program_gets_the_chance_to_end_properly(own_cloud):
    own_cloud.start("--grace", "60")
    script = "trap 'echo bye > ../farewell; exit' TERM; touch ready; while :; do sleep 0.05; done"
    machine = launch(own_cloud, script)
    eventually((own_cloud.state / machine / "ready").exists)
    own_cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(own_cloud, machine))
    assert (own_cloud.state / "farewell").read_text() == "bye\n"


def test_a_program_that_ignores_the_signal_is_killed_after_its_time(own_cloud):
    own_cloud.start("--grace", "2")
    machine = launch(own_cloud, "trap '' TERM; touch ready; while :; do sleep 0.05; done")
    eventually((own_cloud.state / machine / "ready").exists)
    own_cloud.call("DELETE", f"/machines/{machine}")
    assert phase(own_cloud, machine) == "stopping"
    eventually(lambda: is_gone(own_cloud, machine))
    assert not processes.living(machine)


def test_a_machine_that_crashed_as_a_whole_is_gone(cloud):
    machine = launch(cloud, "touch ready; exec sleep 600")
    eventually((cloud.state / machine / "ready").exists)
    os.kill(int((cloud.state / machine / "supervisor.pid").read_text()), signal.SIGKILL)
    eventually(lambda: is_gone(cloud, machine))
    assert not processes.living(machine)


def test_a_type_with_gpus_has_a_simulated_nvidia_smi(cloud):
    query = "nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader,nounits"
    script = f"{query} > gpus.new; mv gpus.new gpus; nvidia-smi > table.new; mv table.new table; exec sleep 600"
    machine = launch(cloud, script, type="gpu-h100-8x")
    assert written(cloud, machine, "gpus").splitlines() == [f"{n}, NVIDIA H100 80GB HBM3, 81559" for n in range(8)]
    table = written(cloud, machine, "table")
    assert "simulated" in table
    assert "CUDA Version: 12.8" in table


def test_a_type_without_gpu_has_no_simulated_nvidia_smi(cloud):
    machine = launch(cloud)
    assert not (cloud.state / machine / "bin" / "nvidia-smi").exists()


def test_a_silent_machine_runs_and_never_executes_its_user_data(cloud):
    cloud.rehearse({"fault": "silent", "count": 1})
    machine = launch(cloud, "touch spoke; exec sleep 600")
    eventually(lambda: phase(cloud, machine) == "running")
    other = launch(cloud, "touch spoke; exec sleep 600")
    eventually((cloud.state / other / "spoke").exists)
    assert not (cloud.state / machine / "spoke").exists()


def test_a_boot_delay_keeps_a_machine_starting(cloud):
    cloud.rehearse({"fault": "boot-delay", "value": 2, "count": 1})
    began = time.monotonic()
    machine = launch(cloud, "touch spoke; exec sleep 600")
    assert phase(cloud, machine) == "starting"
    eventually(lambda: phase(cloud, machine) == "running")
    assert time.monotonic() - began >= 2


def test_a_machine_can_end_while_it_starts(cloud):
    cloud.rehearse({"fault": "boot-delay", "value": 600})
    machine = launch(cloud)
    cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(cloud, machine))


def test_capacity_is_how_many_may_live_at_once(cloud):
    cloud.rehearse({"fault": "capacity", "region": "local-north", "value": 1})
    machine = launch(cloud)
    assert refused(cloud) == (503, "no-capacity")
    launch(cloud, region="local-south")
    cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(cloud, machine))
    launch(cloud)


def test_a_fault_of_one_type_leaves_the_others_alone(cloud):
    cloud.rehearse({"fault": "no-capacity", "type": "cpu-small", "count": 2})
    assert refused(cloud) == (503, "no-capacity")
    launch(cloud, type="cpu-medium")
    assert cloud.call("GET", "/rehearsal").body == [{"fault": "no-capacity", "type": "cpu-small", "count": 1}]
    assert refused(cloud) == (503, "no-capacity")
    assert cloud.call("GET", "/rehearsal").body == []
    launch(cloud)


def test_a_preempted_machine_gets_notice_and_is_gone_afterwards(cloud):
    machine = launch(cloud, spot=True)
    eventually(lambda: phase(cloud, machine) == "running")
    answer = cloud.call("POST", f"/machines/{machine}/preempt", {"after_s": 3})
    assert (answer.status, answer.body["phase"]) == (202, phase(cloud, machine))
    assert answer.body["interrupted_at"]
    assert (cloud.state / machine / "interruption").read_text().strip() > answer.body["interrupted_at"]
    assert not is_gone(cloud, machine)
    eventually(lambda: is_gone(cloud, machine))


def test_an_end_fails_as_often_as_told_and_works_then(cloud):
    machine = launch(cloud)
    cloud.rehearse({"fault": "terminate-fails", "count": 2})
    statuses = [cloud.call("DELETE", f"/machines/{machine}").status for _ in range(3)]
    assert statuses == [500, 500, 202]
    eventually(lambda: is_gone(cloud, machine))
    assert cloud.call("DELETE", f"/machines/{machine}").status == 404


def test_a_name_is_taken_while_its_machine_lives_and_free_afterwards(cloud):
    machine = launch(cloud, name="attempt-1")
    assert refused(cloud, name="attempt-1") == (409, "name-taken")
    cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(cloud, machine))
    launch(cloud, name="attempt-1")


def test_machines_survive_a_crash_of_the_server_and_are_found_again(own_cloud):
    own_cloud.start()
    machine = launch(own_cloud, "echo started >> starts; exec sleep 600", tags={"owner": "me"})
    written(own_cloud, machine, "starts")
    before = {process.pid for process in processes.living(machine)}
    own_cloud.kill()
    own_cloud.start()
    found = own_cloud.call("GET", "/machines?tag=owner:me").body["machines"]
    assert [row["id"] for row in found] == [machine]
    time.sleep(0.3)  # several rounds of upkeep, which must not take the machine for dead
    assert phase(own_cloud, machine) == "running"
    assert {process.pid for process in processes.living(machine)} == before
    own_cloud.call("DELETE", f"/machines/{machine}")
    eventually(lambda: is_gone(own_cloud, machine))
    assert not processes.living(machine)


def test_an_end_that_was_begun_is_finished_by_the_next_server(own_cloud):
    own_cloud.start("--grace", "60")
    machine = launch(own_cloud, "trap '' TERM; touch ready; while :; do sleep 0.05; done")
    eventually((own_cloud.state / machine / "ready").exists)
    own_cloud.call("DELETE", f"/machines/{machine}")
    own_cloud.kill()
    own_cloud.start()
    eventually(lambda: is_gone(own_cloud, machine))
    assert not processes.living(machine)


def test_a_launch_that_was_only_an_intent_is_finished_or_undone(own_cloud):
    """The server dies between the state file and the supervisor: once with a finished folder, once without one."""
    own_cloud.start()
    whole, half = launch(own_cloud), launch(own_cloud)
    own_cloud.kill()
    for machine in (whole, half):
        processes.end(machine, grace_s=0)
    (own_cloud.state / half / "machine.json").unlink()
    path = own_cloud.state / "machines.json"
    path.write_text(json.dumps([{**row, "started": False} for row in json.loads(path.read_text())]))
    own_cloud.start()
    eventually(lambda: is_gone(own_cloud, half))
    eventually(lambda: phase(own_cloud, whole) == "running")
    assert supervisor.is_on(own_cloud.state / whole)


@pytest.mark.parametrize(("options", "outcome"), [((), "gone"), (("--poweron",), "running")])
def test_after_a_restart_of_the_computer_machines_are_gone_unless_powered_on(own_cloud, options, outcome):
    own_cloud.start()
    machine = launch(own_cloud, "echo started >> starts; exec sleep 600")
    written(own_cloud, machine, "starts")
    own_cloud.kill()
    processes.end(machine, grace_s=0)
    own_cloud.start(*options)
    eventually(lambda: phase(own_cloud, machine) == outcome)
    if outcome == "running":
        eventually(lambda: written(own_cloud, machine, "starts").count("started") == 2)


def test_a_machine_that_powered_itself_off_while_no_server_ran_is_not_powered_on_again(own_cloud):
    own_cloud.start()
    machine = launch(own_cloud, "echo x >> ../starts; while [ ! -e ../off ]; do sleep 0.02; done; $TIDEPOOL_POWEROFF")
    eventually((own_cloud.state / "starts").exists)
    own_cloud.kill()
    (own_cloud.state / "off").touch()
    eventually(lambda: not supervisor.is_on(own_cloud.state / machine))
    own_cloud.start("--poweron")
    eventually(lambda: is_gone(own_cloud, machine))
    assert (own_cloud.state / "starts").read_text() == "x\n"


def test_a_second_server_on_the_same_state_is_refused(own_cloud):
    own_cloud.start()
    second = CloudProcess(own_cloud.state)
    second.log = own_cloud.state.parent / "second.log"
    with pytest.raises(AssertionError, match="another local cloud"):
        second.start()


def test_no_more_machines_live_than_the_computer_is_allowed_to_run(own_cloud):
    own_cloud.start("--max-live", "1")
    launch(own_cloud)
    assert refused(own_cloud) == (403, "quota")


def test_the_log_and_the_state_file_hold_no_secret(own_cloud):
    own_cloud.start()
    machine = launch(own_cloud, "echo the-bootstrap-token; exec sleep 600")
    own_cloud.call("GET", "/types", key="a-wrong-key")
    text = own_cloud.log.read_text() + (own_cloud.state / "machines.json").read_text()
    assert all(secret not in text for secret in ("the-bootstrap-token", "a-key-for-tests", "a-wrong-key"))
    assert (own_cloud.state / machine).stat().st_mode & 0o077 == 0
    assert (own_cloud.state / machine / "user-data").stat().st_mode & 0o077 == 0
    assert [json.loads(line)["event"] for line in own_cloud.log.read_text().splitlines()][:2] == ["listening", "answer"]
