"""What AWS and Azure do to a request, on the deployed stack: refusals, lost answers, notices, bad credentials."""

SMALL = ("--cpu", "2..", "--memory", "1GB..")


def attempts(plane, name):
    return plane.instance(name)["attempts"]


def test_a_zone_that_is_sold_out_is_left_for_the_next_one(aws):
    aws.play("PUT", body={"fail_next": "no_capacity"})
    aws.tidepool("pool", "add", "--gpu", "L4", "--name", "box", "-y")
    refused, taken = attempts(aws, "box")
    assert (refused["state"], refused["kind"]) == ("refused", "no_capacity")
    assert "InsufficientInstanceCapacity" in refused["detail"]
    assert refused["offer"]["zone"] != taken["offer"]["zone"]
    offered = aws.tidepool("offer", "--gpu", "L4", "--json").json["offers"]
    sold_out = [(offer["zone"], offer["spot"]) for offer in offered if offer["availability"] == "stocked-out"]
    assert sold_out == [(refused["offer"]["zone"], False)]


def test_a_launch_whose_answer_is_lost_is_found_and_nothing_is_bought_twice(aws):
    aws.play("PUT", body={"lose_next": True})
    aws.tidepool("pool", "add", "--gpu", "L4", "--name", "box", "-y", "--wait")
    assert len(attempts(aws, "box")) == 1
    assert len(aws.machines()) == 1


def test_credentials_that_were_revoked_are_reported_as_that(aws):
    aws.play("PUT", body={"keys_revoked": True})
    refused = aws.tidepool("run", *SMALL, "--no-code", "--name", "out", "--", "true", code=None)
    assert refused.code not in (0, 1)
    ended = aws.request("GET", f"/projects/{aws.project}/runs/out")[1]
    assert (ended["state"], ended["reason"]) == ("failed", "provisioning-failed")
    assert "auth" in ended["detail"]
    assert "capacity" not in ended["detail"]
    assert aws.tidepool("backend", "test", "aws", code=8).out.count("failed") >= 1


def test_a_spot_machine_that_ec2_takes_back_is_replaced_by_the_policy_and_the_output_goes_on(aws):
    script = 'echo "try $TIDEPOOL_TRY"; [ "$TIDEPOOL_TRY" = 2 ] || exec sleep 300; echo done'
    words = (*SMALL, "--spot", "--retry", "--no-code", "--name", "survivor", "--idle-duration", "0s")
    follower = aws.start("run", *words, "--", "sh", "-c", script)
    path = f"/projects/{aws.project}/runs/survivor"
    aws.until(lambda: aws.request("GET", path)[1].get("state") == "running")
    (machine,) = aws.machines()
    aws.play("POST", "/interrupt", {"id": machine.ref.partition("/")[2], "after_s": 60})
    out, err = follower.communicate(timeout=240)
    assert follower.returncode == 0, err
    assert [line for line in out.splitlines() if not line.startswith("tidepool:")] == ["try 1", "try 2", "done"]
    aws.until(lambda: machine.ref not in {left.ref for left in aws.machines()})


def test_an_allocation_that_azure_fails_after_taking_it_is_no_capacity_and_leaves_nothing(azure):
    azure.play("PUT", body=[{"fault": "allocation-failed", "count": 1}])
    azure.tidepool("pool", "add", "--gpu", "A100", "--name", "box", "-y", "--wait")
    failed, taken = attempts(azure, "box")
    assert (failed["state"], failed["kind"]) == ("cleaned", "no_capacity")
    assert "Allocation failed" in failed["detail"]
    assert failed["offer"]["region"] != taken["offer"]["region"]
    assert azure.play("GET", f"/left/{failed['attempt_id']}") == []
    assert len(azure.machines()) == 1
