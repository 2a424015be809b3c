"""Hosts in several networks, and runs on several of them: addresses, variables, and connections between real hosts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.plane import Plane
from tests.hosts.adopting import add, ask, bare, ready, removed, until
from tests.hosts.host import Host
from tests.hosts.networks import docker0

LAN = "10.88.0.0/24"
POOL = "/projects/main/pools/racks"
MEET = """
import os, socket, sys
rank, count = int(os.environ["NODE_RANK"]), int(os.environ["NNODES"])
master = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
nodes = os.environ["TIDEPOOL_NODES_IPS"].split()
if rank == 0:
    with socket.create_server(master) as server:
        server.settimeout(150)
        guest, (address, _) = server.accept()
        with guest:
            print("node 0", socket.gethostname(), "of", count, "met", guest.recv(99).decode(), "from", address, *nodes)
else:
    for _ in range(1500):
        try:
            with socket.create_connection(master, timeout=60, source_address=(nodes[rank], 0)) as there:
                there.sendall(socket.gethostname().encode())
                break
        except ConnectionRefusedError:
            import time
            time.sleep(0.1)
    print("node", rank, socket.gethostname(), "of", count, "knows", *nodes)
"""


@dataclass
class Racks:
    """Two racks whose networks have the same addresses."""

    plane: Plane
    hosts: dict[str, Host]
    rows: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def racks(lab, first, key) -> Iterator[Racks]:
    """`left-1` and `left-2` in one, `right-1` in the other. Docker's bridge is each one's first interface."""
    assert first.request("POST", "/projects/main/pools", {"name": "racks"})[0] == 201
    for name in ("left", "right"):
        lab.network(f"rack-{name}", LAN)
    places = {"left-1": "10.88.0.1", "left-2": "10.88.0.2", "right-1": "10.88.0.1"}
    hosts, rows = {}, {}
    for name, address in places.items():
        rack = name.partition("-")[0]
        hosts[name] = bare(
            lab, first, key, name, networks={"public": "", f"rack-{rack}": address}, interfaces=[docker0()]
        )
        rows[name] = ask(first, hosts[name], key, path=POOL, network=LAN, region=f"{rack}-hall")
    rows = {name: ready(first, row) for name, row in rows.items()}
    yield Racks(first, hosts, rows)
    for host in hosts.values():
        host.power_off()


def test_a_host_is_known_by_the_address_that_leads_to_it_and_not_by_docker_s(lab, plane, key, racks):
    host = bare(lab, plane, key, "many-homed", networks={"public": "", "rack-left": ""}, interfaces=[docker0()])
    assert host.run("hostname -I").stdout.split()[0] == "172.17.0.1"
    shown = add(plane, host, key)
    assert shown["host"]["address"] == host.address
    removed(plane, shown)
    assert {name: row["host"]["address"] for name, row in racks.rows.items()} == {
        "left-1": "10.88.0.1",
        "left-2": "10.88.0.2",
        "right-1": "10.88.0.1",
    }


def test_two_nodes_of_one_network_meet_at_the_master_s_address(racks):
    words = ("--pool", "racks", "--reuse", "--no-code", "--nodes", "2", "--name", "meeting")
    ran = racks.plane.tidepool("run", *words, "--", "python3", "-c", MEET)
    jobs = racks.plane.request("GET", "/projects/main/runs/meeting")[1]["jobs"]
    first, second = [job["instance"]["name"] for job in jobs]
    assert {first, second} == {"left-1", "left-2"}
    addresses = [racks.hosts[name].address_in("rack-left") for name in (first, second)]
    nodes = " ".join(addresses)
    assert sorted(ran.out.splitlines()) == [
        f"[0] node 0 {first} of 2 met {second} from {addresses[1]} {nodes}",
        f"[1] node 1 {second} of 2 knows {nodes}",
    ]


def test_with_one_of_them_busy_no_cluster_is_made_of_the_other_and_a_host_elsewhere(racks):
    plane = racks.plane
    for row in racks.rows.values():
        ready(plane, row)  # again: a host is given back after the end of its run
    status, lease = plane.request("POST", f"{POOL}/leases", {"holder": "somebody", "instance": "left-2"})
    assert status == 201, lease
    words = ("--pool", "racks", "--reuse", "--no-code", "--nodes", "2", "--", "true")
    refused = plane.tidepool("run", *words, code=6)
    assert refused.err.count("1 of 2 nodes free") == 2
    assert plane.request("DELETE", f"/projects/main/leases/{lease['lease_id']}")[0] == 200
    until(lambda: plane.instance("left-2")["state"] == "idle", "it is not given back")
    plane.tidepool("run", *words)
