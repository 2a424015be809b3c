"""One command on two machines of a cluster: ranks, addresses, one end for both, and leases of a whole gang."""

import json

PRINT = """
count=$(echo "$TIDEPOOL_NODES_IPS" | wc -l)
echo "rank $NODE_RANK of $NNODES, master $MASTER_ADDR:$MASTER_PORT, $count nodes"
"""
FAIL = 'if [ "$NODE_RANK" = 1 ]; then sleep 1; exit 9; fi; sleep 600'


def both_idle(plane):
    rows = plane.instances()
    return rows if [row["state"] for row in rows] == ["idle", "idle"] else None


def test_a_run_on_two_nodes_tells_each_its_rank_and_ends_with_the_first_that_fails(plane):
    plane.tidepool("pool", "add", "--cpu", "2..", "--name", "one", "-y")
    plan = json.loads(plane.tidepool("run", "--nodes", "2", "--cpu", "2..", "--explain", "--json", "--", "true").out)
    best = plan["clusters"][0]
    assert (best["free"], best["missing"]) == (1, 1)
    assert best["total_micros"] == plan["instances"][0]["price_micros"] + best["price_micros"]
    assert plan["instances"][0]["name"] == "one"
    ran = plane.tidepool("run", "--nodes", "2", "--cpu", "2..", "--", "sh", "-c", PRINT)
    lines = sorted(ran.out.splitlines())
    assert [line.split(",")[0] for line in lines] == ["[0] rank 0 of 2", "[1] rank 1 of 2"]
    assert all(line.endswith("2 nodes") and ":29500," in line for line in lines)
    assert len({line.partition("master ")[2] for line in lines}) == 1
    assert "one" in ran.err
    rows = plane.until(lambda: both_idle(plane))
    assert len({(row["backend"], row["region"]) for row in rows}) == 1

    failed = plane.tidepool("run", "--nodes", "2", "--reuse", "--json", "--", "sh", "-c", FAIL, code=9)
    run = json.loads(failed.out)
    assert (run["state"], run["reason"], run["exit_code"]) == ("failed", "exited-non-zero", 9)
    assert [job["state"] for job in run["jobs"]] == ["stopped", "failed"]
    assert run["jobs"][1]["instance"]["name"] in run["detail"]
    assert run["detail"].startswith("node 1")

    plane.until(lambda: both_idle(plane))
    refused = plane.tidepool("run", "--nodes", "3", "--reuse", "--", "true", code=6)
    assert "2 of 3 nodes free" in refused.err

    path = f"/projects/{plane.project}/pools/default-pool/leases"
    status, gang = plane.request("POST", path, {"holder": "scheduler", "duration_s": 30, "nodes": 2})
    assert (status, len(gang["leases"])) == (201, 2)
    status, none = plane.request("POST", path, {"holder": "other", "nodes": 2})
    assert (status, none["code"]) == (409, "no-match")
    for lease in gang["leases"]:
        assert plane.request("DELETE", f"/projects/{plane.project}/leases/{lease['lease_id']}")[0] == 200
