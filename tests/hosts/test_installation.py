"""Installing the agent on real hosts and taking it away again: nothing is left, and one owner wins."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.ssh import scripts
from chalicelib.ssh.scripts import Outcome, Report
from tests.agent.stub_api import BOOTSTRAP, StubApi
from tests.hosts import gpus
from tests.hosts.carried import as_root, installation, look
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab
from tests.hosts.machine import Machine, User

MachineOf = dict[str, tuple[Machine, str]]
MACHINES: MachineOf = {
    "systemd": (Machine(driver=gpus.ONE_L40S, docker="nvidia"), ""),
    "cron": (Machine(systemd=False), "cron"),
    "openrc": (Machine(systemd=False, system="alpine-3.20"), "openrc"),
}
NewApi = Callable[[], StubApi]


@pytest.fixture
def new_api() -> Iterator[NewApi]:
    """Makes control planes; all are closed at the end."""
    made: list[StubApi] = []

    def make() -> StubApi:
        made.append(StubApi())
        return made[-1]

    yield make
    for api in made:
        api.close()


def port_of(api: StubApi) -> int:
    return int(api.server.server_port)


def install(lab: Lab, host: Host, key: Key, api: StubApi, **more) -> Report:
    return scripts.parse_install(as_root(lab, host, key, installation(api.url, BOOTSTRAP, **more)).stdout)


def uninstall(lab: Lab, host: Host, key: Key, plane: str = "plane-1", instance: str = "i-1") -> Report:
    return scripts.parse_uninstall(as_root(lab, host, key, scripts.uninstall(plane, instance)).stdout)


def adopted(lab: Lab, name: str, key: Key, api: StubApi, machine: Machine | None = None) -> Host:
    """A host that was installed and whose agent has called."""
    host = lab.host(name, key=key, machine=machine or Machine())
    host.serve(port_of(api))
    assert install(lab, host, key, api).outcome is Outcome.INSTALLED
    api.until(lambda: api.syncs)
    return host


@pytest.mark.parametrize("kind", MACHINES)
def test_installing_and_uninstalling_leaves_files_units_and_processes_as_they_were(
    lab: Lab, key: Key, new_api: NewApi, kind: str
):
    machine, boot = MACHINES[kind]
    api = new_api()
    host = lab.host(f"ins-{kind}", key=key, machine=machine)
    host.serve(port_of(api))
    before = host.files(), host.units(), host.processes()
    report = install(lab, host, key, api)
    assert (report.outcome, report.agent, report.boot) == (Outcome.INSTALLED, "active", boot)
    facts = api.until(lambda: next((sync["facts"] for sync in api.syncs if sync["facts"]), None))
    assert facts["hostname"] == host.name
    assert set(host.files()) > set(before[0])
    api.want("r-1", "sh", "-c", "echo on $(hostname); sleep 3000")
    api.until(lambda: b"on " in api.log("r-1"))
    assert uninstall(lab, host, key).outcome is Outcome.REMOVED
    assert (host.files(), host.units(), host.processes()) == before
    host.reboot()
    assert (host.files(), host.units(), host.processes()) == before


@pytest.mark.parametrize("kind", MACHINES)
def test_the_agent_comes_back_with_its_host(lab: Lab, key: Key, new_api: NewApi, kind: str):
    api = new_api()
    host = adopted(lab, f"back-{kind}", key, api, MACHINES[kind][0])
    boot = api.syncs[-1]["boot_id"]
    host.reboot()
    api.until(lambda: api.syncs[-1]["boot_id"] != boot)
    assert len(set(api.proposals)) == 1


def test_a_job_outlives_its_agent_and_a_cut_of_the_network(lab: Lab, key: Key, new_api: NewApi):
    api = new_api()
    host = adopted(lab, "ins-lives", key, api)
    api.want("r-1", "sh", "-c", "echo begun; until [ -e /tmp/go ]; do sleep 0.05; done; echo done")
    api.until(lambda: b"begun" in api.log("r-1"))
    host.cut()
    host.run("systemctl restart tidepool-agent; touch /tmp/go")
    host.mend()
    assert api.ended("r-1")["exit_code"] == 0
    assert api.log("r-1") == b"begun\ndone\n"


def test_a_container_of_a_run_is_removed_with_the_agent(lab: Lab, key: Key, new_api: NewApi):
    api = new_api()
    host = adopted(lab, "ins-container", key, api, Machine(driver=gpus.ONE_L40S, docker="nvidia"))
    host.run("docker run -d --name theirs image sleep 2000")
    api.want("r-1", "sh", "-c", "echo inside; sleep 3000", image="an-image")
    api.until(lambda: b"inside" in api.log("r-1"))
    assert set(host.run("docker ps --format '{{.Names}}'").stdout.split()) == {"theirs", "tidepool-r-1"}
    assert uninstall(lab, host, key).outcome is Outcome.REMOVED
    assert host.run("docker ps -a --format '{{.Names}}'").stdout.split() == ["theirs"]


def test_an_agent_whose_removal_fails_in_docker_comes_back_and_tries_again(lab: Lab, key: Key, new_api: NewApi):
    api = new_api()
    host = adopted(lab, "ins-stuck", key, api, Machine(docker="plain"))
    boot = api.syncs[-1]["boot_id"]
    stuck = "#!/bin/sh\\n[ $1 = ps ] && echo c0ffee || exit 1\\n"
    host.run(f"mv $(command -v docker) /tmp/docker; printf '{stuck}' >/usr/bin/docker; chmod +x /usr/bin/docker")
    with api.seen:
        api.uninstall = scripts.uninstall("plane-1", "i-1")
    api.wake()
    api.until(lambda: api.syncs[-1]["boot_id"] != boot)
    assert host.units() == {"tidepool-agent.service": ("enabled", "active")}
    assert not api.uninstalled
    host.run("mv /tmp/docker /usr/bin/docker")
    api.until(lambda: api.uninstalled)
    assert host.units() == {}
    assert not host.run("ls -d /etc/tidepool /var/lib/tidepool 2>/dev/null || true").stdout


def test_installing_twice_is_as_good_as_once(lab: Lab, key: Key, new_api: NewApi):
    api = new_api()
    host = adopted(lab, "ins-twice", key, api)
    assert install(lab, host, key, api).outcome is Outcome.INSTALLED
    api.until(lambda: len(api.syncs) > 1)
    assert host.units() == {"tidepool-agent.service": ("enabled", "active")}
    assert uninstall(lab, host, key).outcome is Outcome.REMOVED
    assert uninstall(lab, host, key).outcome is Outcome.ABSENT


def test_of_two_control_planes_at_the_same_moment_one_wins_and_the_other_is_told(lab: Lab, key: Key, new_api: NewApi):
    first, second = new_api(), new_api()
    host = lab.host("ins-fight", key=key)
    for api in (first, second):
        host.serve(port_of(api))
    before = host.files(), host.units(), host.processes()
    with ThreadPoolExecutor(2) as pool:
        tries = [
            pool.submit(install, lab, host, key, api, plane=plane) for api, plane in ((first, "p-1"), (second, "p-2"))
        ]
        reports = [each.result() for each in tries]
    assert sorted(report.outcome for report in reports) == [Outcome.INSTALLED, Outcome.REFUSED]
    winner = [report.outcome for report in reports].index(Outcome.INSTALLED)
    api, plane = ((first, "p-1"), (second, "p-2"))[winner]
    loser = reports[1 - winner]
    assert (loser.reason, json.loads(loser.owner)["control_plane"]) == ("owner-foreign", plane)
    api.until(lambda: api.syncs)
    assert not (first, second)[1 - winner].syncs
    other = ("p-2", "p-1")[winner]
    assert uninstall(lab, host, key, plane=other).outcome is Outcome.REFUSED
    assert uninstall(lab, host, key, plane=plane).outcome is Outcome.REMOVED
    assert (host.files(), host.units(), host.processes()) == before


def test_a_host_is_taken_over_only_when_that_was_asked_for(lab: Lab, key: Key, new_api: NewApi):
    old, new = new_api(), new_api()
    host = adopted(lab, "ins-over", key, old)
    host.serve(port_of(new))
    assert install(lab, host, key, new, plane="plane-2").reason == "owner-foreign"
    report = install(lab, host, key, new, plane="plane-2", take_over=True)
    assert (report.outcome, "took-over" in report.did) == (Outcome.INSTALLED, True)
    new.until(lambda: new.syncs)
    found = look(lab, host, key, new.url)
    assert (found.owner.control_plane, found.agent) == ("plane-2", "active")


def test_an_installation_that_is_killed_anywhere_can_be_repeated(lab: Lab, key: Key, new_api: NewApi):
    """Killed after each line that it says it did, which is wherever something was changed."""
    api = new_api()
    host = lab.host("ins-killed", key=key)
    host.serve(port_of(api))
    before = host.files(), host.units(), host.processes()
    script = installation(api.url, BOOTSTRAP)
    steps = re.findall(r"^ *say did (\w+)$", script, re.MULTILINE)
    assert {"claimed", "files", "started"} <= set(steps)
    for step in steps:
        killed = re.sub(rf"^( *)say did {step}$", rf"\1say did {step}; kill -9 $$", script, flags=re.MULTILINE)
        as_root(lab, host, key, killed)
    assert install(lab, host, key, api).outcome is Outcome.INSTALLED
    api.until(lambda: api.syncs)
    assert uninstall(lab, host, key).outcome is Outcome.REMOVED
    assert (host.files(), host.units(), host.processes()) == before


def test_no_secret_stands_where_others_can_read_it(lab: Lab, key: Key, new_api: NewApi):
    api = new_api()
    users = [User("ubuntu", [key]), User("other", [key], sudo="refused")]
    host = lab.host("ins-secret", users=users)
    host.serve(port_of(api))
    assert install(lab, host, key, api).outcome is Outcome.INSTALLED
    api.until(lambda: api.syncs)
    lab.ssh(host, "cat > wanted", key=key, user="other", text=f"{BOOTSTRAP}\n{api.registered}\n")
    running = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -cFf wanted"
    assert lab.ssh(host, running, key=key, user="other").stdout == "0\n"
    lying = "grep -rlFf wanted /etc /var /run /tmp 2>/dev/null"
    assert lab.ssh(host, lying, key=key, user="other").stdout == ""
    assert "agent.json" in host.run("grep -rlFf /home/other/wanted /etc /var").stdout
