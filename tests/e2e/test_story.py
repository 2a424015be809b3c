"""The main job as a user types it, on the deployed control plane, with real agents and real jobs."""

import json


def test_fill_a_pool_run_on_it_reuse_it_and_let_it_drain(rented):
    work = rented.root / "work"
    (work / "train.py").write_text("import sys, pathlib; print(pathlib.Path('data.txt').read_text()); sys.exit(3)")
    (work / "data.txt").write_text("came along")
    (work / ".gitignore").write_text("secret.txt\n")
    (work / "secret.txt").write_text("stays here")

    added = rented.tidepool("pool", "add", "--gpu", rented.gpu, "--name", "box", answer="y\n")
    assert rented.model in added.out
    assert "seed" not in added.err, "the catalog was read from the provider"
    (listed,) = [row for row in rented.tidepool("pool", "ps", "--json").json if row["state"] != "terminated"]
    assert (listed["name"], listed["state"], listed["idle_limit_s"]) == ("box", "idle", 72 * 3600)

    ran = rented.tidepool("run", "--", "python3", "train.py", code=3)
    assert ran.out == "came along\n"
    assert "box" in ran.err
    again = rented.tidepool("run", "--reuse", "--", "sh", "-c", "ls; nvidia-smi")
    assert rented.model in again.out
    assert "secret.txt" not in again.out

    short = rented.tidepool("run", "--cpu", "2..", "--idle-duration", "1s", "--json", "--", "true")
    name = short.json["instance"]["name"]
    rented.until(lambda: len(rented.instances()) == 1)
    gone = rented.instance(name)
    assert (gone["state"], gone["reason"], gone["idle_limit_s"]) == ("terminated", "idle-timeout", 1)

    rented.tidepool("pool", "rm", "box", "-y")
    assert rented.machines() == []
    rented.until(lambda: rented.instance("box")["history"][-1]["target"] == "terminated")  # written behind the row
    detail = rented.tidepool("instance", "show", "box", "--json").json
    assert detail["state"] == "terminated"
    assert detail["spent_micros"] > 0
    steps = [(step["target"], step["reason"]) for step in detail["history"]]
    assert steps[:3] == [("pending", "pool-add"), ("provisioning", "launched"), ("idle", "agent-ready")]
    assert steps[-2:] == [("terminating", "user-removed"), ("terminated", "confirmed-gone")]


def test_a_detached_run_is_listed_followed_and_stopped(rented):
    name = rented.tidepool("run", "-d", "--", "sh", "-c", "echo started; sleep 600").out.strip()
    rented.until(lambda: "started" in rented.tidepool("logs", name).out)
    (listed,) = rented.tidepool("ps", "--json").json
    assert (listed["name"], listed["state"]) == (name, "running")
    (row,) = rented.instances()
    refused = rented.tidepool("pool", "rm", row["name"], "-y", code=5)
    assert "busy" in refused.err
    rented.tidepool("stop", name)
    path = f"/projects/{rented.project}/runs/{name}"
    ended = rented.until(lambda: (run := rented.request("GET", path)[1])["ended_at"] and run)
    assert (ended["state"], ended["exit_code"]) == ("stopped", 143)


def test_a_refused_reuse_says_why_for_each_instance(rented):
    rented.tidepool("pool", "add", "--cpu", "2..", "--name", "small", "-y")
    refused = rented.tidepool("run", "--reuse", "--gpu", "H100", "--", "true", code=6)
    assert "small" in refused.err
    assert "GPU" in refused.err


def test_a_lease_is_taken_kept_and_given_back_by_a_client_with_its_own_scheduler(rented):
    rented.tidepool("pool", "add", "--cpu", "2..", "--name", "leased", "-y")
    path = f"/projects/{rented.project}/pools/default-pool/leases"
    status, lease = rented.request("POST", path, {"holder": "scheduler", "duration_s": 30})
    assert (status, lease["instance"]["name"], lease["instance"]["state"]) == (201, "leased", "busy")
    status, refused = rented.request("POST", path, {"holder": "other"})
    assert (status, refused["code"], list(refused["reasons"])) == (409, "no-match", ["leased"])
    own = f"/projects/{rented.project}/leases/{lease['lease_id']}"
    status, kept = rented.request("POST", f"{own}/heartbeat", {"duration_s": 60})
    assert (status, kept["fence"]) == (200, lease["fence"])
    assert kept["expires_at"] > lease["expires_at"]
    assert rented.request("DELETE", own)[0] == 200
    assert rented.request("DELETE", own)[0] == 200
    status, lost = rented.request("POST", f"{own}/heartbeat", {})
    assert (status, lost["code"]) == (409, "lease-lost")


def test_nothing_secret_is_in_any_log_or_answer(rented):
    rented.tidepool("run", "--cpu", "2..", "-e", "PASSWORD=hunter2", "--idle-duration", "0s", "--", "true")
    said = rented.logs() + json.dumps(rented.request("GET", f"/projects/{rented.project}/runs")[1])
    secret = rented.client["TIDEPOOL_TOKEN"].rsplit(".", 1)[1]
    key = rented.client["TIDEPOOL_LOCAL_CLOUD_KEY"]
    for hidden in (secret, "hunter2", key, *rented.secrets, "X-Amz-Signature=", "tpb."):
        assert hidden not in said.replace("X-Amz-Signature=***", ""), hidden
