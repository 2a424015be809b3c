"""Which machines may work together, which cluster is the cheapest, and what each node is told."""

import pytest

from chalicelib.domain.clusters import Cluster, Completion, cheapest, cluster_of, grouped
from chalicelib.domain.host_records import offer_of
from chalicelib.domain.model import Resources
from chalicelib.domain.nodes import NodeJob, NodeState, are_over, blank, ended, explained, failure
from chalicelib.domain.rendezvous import environment
from tests.builders import make_offer

HAS = Resources(8, 32768, 100_000)
HERE, THERE = "10.0.0.0/24", "10.1.0.0/24"


def test_hosts_of_one_network_are_a_cluster_and_those_of_another_are_not_in_it():
    offers = [offer_of("remote", HAS, HERE), offer_of("remote", HAS, THERE), offer_of("remote", HAS, HERE)]
    found = grouped(offers, lambda _: False)
    assert {each.key: len(found[each]) for each in found} == {
        f"remote|{HERE}": 2,
        f"remote|{THERE}": 1,
    }


def test_the_same_network_at_two_sites_is_two_clusters():
    one, two = offer_of("berlin", HAS, HERE), offer_of("oslo", HAS, HERE)
    assert cluster_of(one, lambda _: True) != cluster_of(two, lambda _: True)


def test_a_host_without_a_network_is_in_no_cluster():
    assert cluster_of(offer_of("remote", HAS), lambda _: True) is None


def test_rented_machines_are_a_cluster_by_account_and_region_where_the_backend_says_so():
    east, zone_b = make_offer(region="east", zone="a"), make_offer(region="east", zone="b")
    assert cluster_of(east, lambda _: True) == cluster_of(zone_b, lambda _: True)
    assert cluster_of(make_offer(region="west"), lambda _: True) != cluster_of(east, lambda _: True)
    assert cluster_of(east, lambda _: False) is None


@pytest.mark.parametrize(
    ("ways", "best"),
    [
        ([("a", 0, 10), ("b", 1, 14)], "b"),
        ([("a", 0, 10), ("b", 0, 9)], "b"),
        ([("a", 2, 99), ("b", 3, 100)], "b"),
        ([("b", 1, 10), ("a", 1, 10)], "a"),
    ],
)
def test_the_cluster_is_chosen_where_the_missing_machines_cost_least(ways, best):
    found = cheapest([Completion(Cluster("x", region), free, price) for region, free, price in ways], 3)
    assert found is not None
    assert found.cluster.region == best


def test_nothing_offered_is_no_cluster():
    assert cheapest([], 2) is None


def test_only_the_first_bad_end_is_the_failure_and_the_others_were_stopped():
    jobs = tuple(NodeJob(rank, instance_name=f"n{rank}", state=NodeState.RUNNING) for rank in range(3))
    jobs = ended(jobs, jobs[1], exit_code=3, reason="exited-non-zero", detail="", stopping=False)
    jobs = ended(jobs, jobs[0], exit_code=143, reason="exited-non-zero", detail="", stopping=False)
    assert not are_over(jobs)
    jobs = ended(jobs, jobs[2], exit_code=0, reason="", detail="", stopping=False)
    assert are_over(jobs)
    assert [job.state for job in jobs] == [NodeState.STOPPED, NodeState.FAILED, NodeState.EXITED]
    failed = failure(jobs)
    assert failed is not None
    assert explained(failed) == "node 1 (n1) exited with code 3"


def test_a_run_that_is_being_stopped_has_no_failed_node():
    jobs = (NodeJob(0, state=NodeState.RUNNING),)
    assert failure(ended(jobs, jobs[0], exit_code=143, reason="exited-non-zero", detail="", stopping=True)) is None


def test_a_new_placement_keeps_nothing_but_the_rank():
    jobs = (NodeJob(0, cluster="c", instance_id="i", lease_id="l", state=NodeState.FAILED, exit_code=1),)
    assert blank(jobs) == (NodeJob(0),)


def test_each_node_is_told_its_rank_the_master_and_all_addresses():
    jobs = tuple(NodeJob(rank, address=f"10.0.0.{5 + rank}", gpus=4) for rank in range(3))
    told = environment(jobs, jobs[2], {})
    assert told["MASTER_ADDR"] == told["TIDEPOOL_MASTER_ADDR"] == told["DSTACK_MASTER_NODE_IP"] == "10.0.0.5"
    assert told["NODE_RANK"] == told["PET_NODE_RANK"] == told["DSTACK_NODE_RANK"] == "2"
    assert told["NNODES"] == told["TIDEPOOL_NODES_NUM"] == told["DSTACK_NODES_NUM"] == "3"
    assert (
        told["TIDEPOOL_NODES_IPS"].split("\n")
        == told["DSTACK_NODES_IPS"].split("\n")
        == [
            "10.0.0.5",
            "10.0.0.6",
            "10.0.0.7",
        ]
    )
    assert told["TIDEPOOL_GPUS_PER_NODE"] == told["PET_NPROC_PER_NODE"] == "4"
    assert told["TIDEPOOL_GPUS_NUM"] == "12"


def test_mpirun_is_told_each_node_with_a_slot_for_each_gpu():
    jobs = (NodeJob(0, address="10.0.0.5", gpus=8), NodeJob(1, address="fd00::7", gpus=4), NodeJob(2, address="c"))
    assert environment(jobs, jobs[1], {})["TIDEPOOL_MPI_HOSTS"] == "10.0.0.5:8,[fd00::7]:4,c:1"


def test_nodes_with_different_gpus_are_each_told_their_own_and_those_of_all():
    jobs = tuple(NodeJob(rank, address=f"10.0.0.{5 + rank}", gpus=gpus) for rank, gpus in enumerate((8, 2, 0)))
    told = [environment(jobs, job, {}) for job in jobs]
    assert [each["TIDEPOOL_GPUS_PER_NODE"] for each in told] == ["8", "2", "0"]
    assert [each["DSTACK_GPUS_PER_NODE"] for each in told] == ["8", "2", "0"]
    assert [each.get("PET_NPROC_PER_NODE") for each in told] == ["8", "2", None]
    assert {each["TIDEPOOL_NODES_GPUS"] for each in told} == {"8\n2\n0"}
    assert {each["TIDEPOOL_GPUS_NUM"] for each in told} == {each["DSTACK_GPUS_NUM"] for each in told} == {"10"}


def test_a_port_that_the_user_chose_is_everybodys():
    jobs = (NodeJob(0, address="a"), NodeJob(1, address="b"))
    assert environment(jobs, jobs[1], {"MASTER_PORT": "4000"})["PET_MASTER_PORT"] == "4000"
    assert "PET_NPROC_PER_NODE" not in environment(jobs, jobs[1], {})
