"""The main job as a user types it, on the deployed control plane, with real agents and real jobs."""

import json


def test_fill_a_pool_run_on_it_reuse_it_and_let_it_drain(plane):
    work = plane.root / "work"
    (work / "train.py").write_text("import sys, pathlib; print(pathlib.Path('data.txt').read_text()); sys.exit(3)")
    (work / "data.txt").write_text("came along")
    (work / ".gitignore").write_text("secret.txt\n")
    (work / "secret.txt").write_text("stays here")

    added = plane.tidepool("pool", "add", "--gpu", "80GB", "--name", "box", answer="y\n")
    assert "A100" in added.out
    assert "simulated" in added.out
    (listed,) = [row for row in plane.tidepool("pool", "ps", "--json").json if row["state"] != "terminated"]
    assert (listed["name"], listed["state"], listed["idle_limit_s"]) == ("box", "idle", 72 * 3600)

    ran = plane.tidepool("run", "--", "python3", "train.py", code=3)
    assert ran.out == "came along\n"
    assert "box" in ran.err
    again = plane.tidepool("run", "--reuse", "--", "sh", "-c", "ls; nvidia-smi")
    assert "A100" in again.out
    assert "secret.txt" not in again.out

    short = plane.tidepool("run", "--cpu", "2..", "--idle-duration", "1s", "--json", "--", "true")
    rented = short.json["instance"]["name"]
    plane.until(lambda: len(plane.instances()) == 1)
    gone = plane.instance(rented)
    assert (gone["state"], gone["reason"], gone["idle_limit_s"]) == ("terminated", "idle-timeout", 1)

    plane.tidepool("pool", "rm", "box", "-y")
    assert plane.machines() == []
    detail = plane.tidepool("instance", "show", "box", "--json").json
    assert detail["state"] == "terminated"
    assert detail["spent_micros"] > 0
    steps = [(step["target"], step["reason"]) for step in detail["history"]]
    assert steps[:3] == [("pending", "pool-add"), ("provisioning", "launched"), ("idle", "agent-ready")]
    assert steps[-2:] == [("terminating", "user-removed"), ("terminated", "confirmed-gone")]


def test_a_detached_run_is_listed_followed_and_stopped(plane):
    name = plane.tidepool("run", "-d", "--", "sh", "-c", "echo started; sleep 60").out.strip()
    plane.until(lambda: "started" in plane.tidepool("logs", name).out)
    (listed,) = plane.tidepool("ps", "--json").json
    assert (listed["name"], listed["state"]) == (name, "running")
    (row,) = plane.instances()
    refused = plane.tidepool("pool", "rm", row["name"], "-y", code=5)
    assert "busy" in refused.err
    plane.tidepool("stop", name)
    ended = plane.until(lambda: (run := plane.request("GET", f"/projects/main/runs/{name}")[1])["ended_at"] and run)
    assert (ended["state"], ended["exit_code"]) == ("stopped", 143)


def test_a_refused_reuse_says_why_for_each_instance(plane):
    plane.tidepool("pool", "add", "--cpu", "2..", "--name", "small", "-y")
    refused = plane.tidepool("run", "--reuse", "--gpu", "A100", "--", "true", code=6)
    assert "small" in refused.err
    assert "GPU" in refused.err


def test_a_lease_is_taken_kept_and_given_back_by_a_client_with_its_own_scheduler(plane):
    plane.tidepool("pool", "add", "--cpu", "2..", "--name", "leased", "-y")
    path = "/projects/main/pools/default-pool/leases"
    status, lease = plane.request("POST", path, {"holder": "scheduler", "duration_s": 30})
    assert (status, lease["instance"]["name"], lease["instance"]["state"]) == (201, "leased", "busy")
    status, refused = plane.request("POST", path, {"holder": "other"})
    assert (status, refused["code"], list(refused["reasons"])) == (409, "no-match", ["leased"])
    own = f"/projects/main/leases/{lease['lease_id']}"
    status, kept = plane.request("POST", f"{own}/heartbeat", {"duration_s": 60})
    assert (status, kept["fence"]) == (200, lease["fence"])
    assert kept["expires_at"] > lease["expires_at"]
    assert plane.request("DELETE", own)[0] == 200
    assert plane.request("DELETE", own)[0] == 200
    status, lost = plane.request("POST", f"{own}/heartbeat", {})
    assert (status, lost["code"]) == (409, "lease-lost")


def test_nothing_secret_is_in_any_log_or_answer(plane):
    plane.tidepool("run", "--cpu", "2..", "-e", "PASSWORD=hunter2", "--idle-duration", "0s", "--", "true")
    said = plane.logs() + json.dumps(plane.request("GET", "/projects/main/runs")[1])
    secret = plane.client["TIDEPOOL_TOKEN"].rsplit(".", 1)[1]
    for hidden in (secret, "hunter2", plane.client["TIDEPOOL_LOCAL_CLOUD_KEY"], "X-Amz-Signature=", "tpb."):
        assert hidden not in said.replace("X-Amz-Signature=***", ""), hidden
