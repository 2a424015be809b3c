"""`offer --nodes` and `run --explain --nodes`: where the nodes could come together, for how much, and why not."""

import json

from tests.cli.builders import make_instance, make_plan

HERE = {"cluster": "aws|us-east-1", "free": 1, "missing": 1, "price_micros": 3_670_000, "total_micros": 7_340_000}
FEW = {"cluster": "remote|10.0.0.0/24", "free": 1, "missing": 1, "price_micros": None, "total_micros": None}
WHY = "1 of 2 nodes free; box-2: busy"


def test_the_clusters_are_shown_with_the_price_of_each_node_and_of_all(stub, cli):
    stub.plan = make_plan(nodes=2, clusters=[HERE | {"why": ""}, FEW | {"why": WHY}], instances=[make_instance()])
    ended = cli("offer", "--nodes", "2")
    assert ended.code == 0
    assert (stub.requests[-1].body["nodes"], stub.requests[-1].body["for_run"]) == (2, True)
    title, header, first, second, *_ = ended.out.splitlines()
    assert title == "2 nodes of one cluster, prices an hour:"
    assert header.split() == ["CLUSTER", "IDLE", "TO", "BUY", "EACH", "TOGETHER", "WHY", "NOT"]
    assert first.split() == ["aws", "us-east-1", "1", "1", "$3.67", "$7.34", "-"]
    assert second.split()[:6] == ["remote", "10.0.0.0/24", "1", "-", "-", "-"]
    assert second.endswith(WHY)
    assert "Idle instances that match:" in ended.out


def test_where_no_cluster_is_possible_the_reasons_are_the_answer(stub, cli):
    why = f"remote|10.0.0.0/24: {WHY}"
    stub.plan = make_plan(nodes=2, clusters=[FEW | {"why": WHY}], offers=[], total_offers=0, filters=[why])
    ended = cli("offer", "--nodes", "2")
    assert ended.code == 7
    assert "no cluster can give 2 nodes" in ended.err
    assert f"  remote 10.0.0.0/24: {WHY}\n" in ended.err


def test_a_run_on_several_nodes_is_explained_with_its_clusters_and_started_nowhere(stub, cli):
    stub.plan = make_plan(nodes=2, clusters=[HERE | {"why": ""}])
    ended = cli("run", "--nodes", "2", "--explain", "--", "true")
    assert ended.code == 0
    assert ["nodes", "2", "--nodes"] in [line.split() for line in ended.out.splitlines()]
    assert "$7.34" in ended.out
    assert "no cluster" not in ended.out
    told = json.loads(cli("run", "--nodes", "2", "--explain", "--json", "--", "true").out)
    assert told["clusters"] == [HERE | {"why": ""}]
    assert stub.requests[-1].body["nodes"] == 2
    stub.plan = make_plan(nodes=2, clusters=[FEW | {"why": WHY}], offers=[], filters=["x: few"])
    ended = cli("run", "--nodes", "2", "--explain", "--", "true")
    assert ended.out.endswith("no cluster can give 2 nodes\n  x: few\n")


def test_what_a_run_takes_its_machine_for_is_part_of_its_plan(stub, cli):
    cli("run", "--image", "ubuntu", "--reuse", "--instance", "box-1", "--explain", "--", "true")
    body = stub.requests[-1].body
    assert (body["image"], body["reuse"], body["instance"]) == ("ubuntu", True, "box-1")


def test_a_run_that_may_not_buy_is_explained_with_how_it_would_be_refused(stub, cli):
    refusal = {"code": "no-match", "detail": "no idle instance matches", "reasons": {"box-1": "is busy"}}
    stub.plan = make_plan(offers=[], total_offers=0, refusal=refusal)
    ended = cli("run", "--reuse", "--explain", "--", "true")
    assert ended.code == 0
    assert "\nonly idle instances count (--reuse); nothing is bought\n" in ended.out
    assert ended.out.endswith("refused with exit code 6: no idle instance matches\n  box-1: is busy\n")
    assert "no offer fits" not in ended.out
    told = json.loads(cli("run", "--reuse", "--explain", "--json", "--", "true").out)
    assert told["refusal"] == refusal


def test_a_run_on_a_named_instance_is_explained_with_that_alone(stub, cli):
    stub.plan = make_plan(offers=[], total_offers=0, instances=[make_instance(name="box-1")], refusal=None)
    out = cli("run", "--instance", "box-1", "--explain", "--", "true").out
    assert "\nonly instance box-1 counts (--instance); nothing is bought\n" in out
    assert "Idle instances that match:\nNAME" in out
    assert "no offer fits" not in out
    assert "refused" not in out
