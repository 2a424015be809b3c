"""Jobs in containers, against a `docker` that runs them as processes of its own."""

import os
import signal
from pathlib import Path

import pytest

from tests.agent.conftest import COUNTS, Machine, counted, wait_until
from tests.agent.stub_api import StubApi

DOCKER = """#!/bin/sh
# Containers are folders: pid, log, code. They do not belong to the client that started them.
all="$(dirname "$0")/containers"; mkdir -p "$all"; echo "$*" >>"$(dirname "$0")/docker.log"
follow() {
    while ! [ -e "$all/$1/code" ]; do sleep 0.02; done &
    tail -c +1 -f -s 0.02 --pid=$! "$all/$1/log" # looks once more when that has ended, so nothing is cut off
}
verb=$1; shift
case "$verb" in
version) echo 28.2.2 ;;
run)
    while :; do
        case "$1" in
        --name) name=$2; shift 2 ;;
        --label | --env | --volume | --workdir | --gpus) shift 2 ;;
        --*) shift ;;
        *) break ;;
        esac
    done
    [ "$1" = no-such-image ] && { echo "Unable to find image"; exit 125; }
    shift; mkdir "$all/$name"; : >"$all/$name/log"
    setsid sh -c 'trap : TERM; "$@" >>"$0/log" 2>&1; echo $? >"$0/new"; mv "$0/new" "$0/code"' "$all/$name" "$@" &
    echo $! >"$all/$name/pid"
    follow "$name"; exit "$(cat "$all/$name/code")" ;;
logs) follow "$2" ;;
wait) while ! [ -e "$all/$1/code" ]; do sleep 0.02; done; cat "$all/$1/code" ;;
inspect) [ -e "$all/$3" ] && echo "[{}]" ;;
stop) kill -TERM "-$(cat "$all/$3/pid")" ;;
ps) ls "$all" ;;
rm) shift 2; for name; do kill -KILL "-$(cat "$all/$name/pid")" 2>/dev/null; rm -rf "${all:?}/$name"; done ;;
esac
"""


@pytest.fixture
def docker(machine: Machine) -> Machine:
    machine.write_command("docker", DOCKER)
    return machine


def calls(machine: Machine, verb: str) -> list[str]:
    return [line for line in (machine.bin / "docker.log").read_text().splitlines() if line.split()[0] == verb]


def containers(machine: Machine) -> list[str]:
    return os.listdir(machine.bin / "containers")


def test_a_container_gets_image_gpus_and_names_of_variables_only(docker: Machine, api: StubApi) -> None:
    docker.write_command("nvidia-smi", '#!/bin/sh\necho "NVIDIA L4, 23034, 570.1"\n')
    docker.start()
    assert api.syncs[0]["facts"]["docker"] is True
    api.want("run-1", "sh", "-c", "echo $SECRET; exit 6", image="python:3.12", env={"SECRET": "not-for-ps"})
    assert api.ended("run-1")["exit_code"] == 6
    assert api.log("run-1") == b"not-for-ps\n"
    (run,) = calls(docker, "run")
    assert "--name tidepool-run-1 --label tidepool.instance=i-1 " in run
    assert "--gpus all" in run
    assert "--env SECRET" in run
    assert "not-for-ps" not in run
    assert run.endswith(" python:3.12 sh -c echo $SECRET; exit 6")
    assert containers(docker) == []


def test_a_container_gets_the_shared_memory_that_was_asked_for_and_a_nodes_the_machine_s_network(
    docker: Machine, api: StubApi
) -> None:
    docker.start()
    api.want("run-1", "true", image="busybox")
    assert api.ended("run-1")["exit_code"] == 0
    api.want("run-2", "true", image="busybox", host_network=True, shared_memory_mib=8192)
    assert api.ended("run-2")["exit_code"] == 0
    alone, node = calls(docker, "run")
    assert "--network" not in alone
    assert "--shm-size" not in alone
    assert {"--network=host", "--shm-size=8192m"} <= set(node.split())


def test_stop_is_docker_stop_with_the_time_to_sigkill(docker: Machine, api: StubApi) -> None:
    docker.start()
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    api.want("run-1", "sh", "-c", script, image="busybox", kill_after_s=7)
    api.until(lambda: api.log("run-1"))
    api.stop()
    assert api.ended("run-1")["exit_code"] == 3
    assert calls(docker, "stop") == ["stop -t 7 tidepool-run-1"]
    assert containers(docker) == []


def test_a_container_goes_on_without_the_agent(docker: Machine, api: StubApi, tmp_path: Path) -> None:
    docker.start()
    api.want("run-1", "sh", "-c", COUNTS, str(tmp_path / "go"), image="busybox")
    api.until(lambda: api.log("run-1"))
    docker.signal(signal.SIGKILL)
    before = len(api.log("run-1"))
    docker.start()
    api.until(lambda: len(api.log("run-1")) > before)
    (tmp_path / "go").touch()
    assert api.ended("run-1")["exit_code"] == 5
    assert counted(api.log("run-1"))


def test_a_container_whose_client_is_gone_too_is_adopted_by_name(docker: Machine, api: StubApi, tmp_path: Path) -> None:
    """What a service manager leaves that kills the agent's whole tree: the container, and the output so far."""
    docker.start()
    api.want("run-1", "sh", "-c", COUNTS, str(tmp_path / "go"), image="busybox")
    api.until(lambda: api.log("run-1"))
    record = docker.processes("run-1")
    docker.signal(signal.SIGKILL)
    os.kill(record["supervisor"], signal.SIGKILL)
    os.killpg(record["leader"], signal.SIGKILL)
    log = docker.bin / "containers" / "tidepool-run-1" / "log"
    before = log.stat().st_size
    wait_until(lambda: log.stat().st_size > before)  # nobody reads, and it goes on
    docker.start()
    api.until(lambda: len(api.log("run-1")) > before)
    (tmp_path / "go").touch()
    assert api.ended("run-1")["exit_code"] == 5
    assert counted(api.log("run-1"))
    assert containers(docker) == []


def test_an_image_that_is_not_there_fails_the_job(docker: Machine, api: StubApi) -> None:
    docker.start()
    api.want("run-1", "true", image="no-such-image")
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"]) == ("failed", None)
    assert end["detail"].startswith("docker could not run the container")
    assert api.log("run-1") == b"Unable to find image\n"


def test_strays_are_removed_before_a_job(docker: Machine, api: StubApi) -> None:
    stray = docker.bin / "containers" / "tidepool-run-0"
    stray.mkdir(parents=True)
    (stray / "pid").write_text("999999999")
    docker.start()
    wait_until(lambda: not stray.exists())
    api.want("run-1", "true")
    assert api.ended("run-1")["exit_code"] == 0


def test_an_image_without_docker_fails_the_job(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "true", image="busybox")
    assert api.ended("run-1")["detail"] == "the job asks for an image, and this machine has no Docker"
