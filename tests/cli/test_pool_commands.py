"""`tidepool pool …` in this process: what is asked for, what is printed, how it ends."""

import json

import pytest

from tests.cli.builders import NO_OFFER, make_attempt, make_instance, make_offer, make_plan, make_pool
from tests.cli.stub import Problem


def body(stub, method, ending):
    return stub.seen(method, ending)[-1].body


def test_pool_alone_lists_the_pools(stub, cli):
    stub.pools.append(make_pool(name="gpu", is_default=False, total=0, available=0))
    assert cli("pool").out == (
        "NAME          DEFAULT  INSTANCES  CREATED\n"
        "default-pool  yes      1/2        1d ago\n"
        "gpu           no       0/0        1d ago\n"
    )
    assert cli("pool", "list").code == 0
    assert json.loads(cli("pool", "--json").out) == stub.pools


def test_pools_are_made_chosen_and_deleted(stub, cli):
    assert cli("pool", "create", "gpu").out == "pool gpu created\n"
    assert cli("pool", "set-default", "gpu").out == "pool gpu is the default\n"
    assert cli("pool", "delete", "default-pool").out == "pool default-pool deleted\n"
    assert [pool["name"] for pool in stub.pools] == ["gpu"]


def test_deleting_a_pool_by_force_asks_first(stub, cli):
    ended = cli("pool", "delete", "default-pool", "--force", stdin="n\n")
    assert (ended.code, ended.err) == (
        5,
        "Delete pool default-pool and all its instances? [y/n]: n\nerror: nothing was changed\n",
    )
    assert len(stub.pools) == 1
    ended = cli("pool", "delete", "default-pool", "--force", "-y")
    assert (ended.code, ended.out) == (0, "pool default-pool is deleted as soon as its instances are gone\n")
    assert stub.seen("DELETE", "/default-pool")[0].query == {"force": "true"}


def test_pool_ps_shows_what_is_there_and_what_failed_lately(stub, cli):
    stub.instances = [
        make_instance(),
        make_instance(name="deep-crab-11", state="busy", lease={"holder": "ann"}, spot=True, price_micros=1_200_000),
        make_instance(name="glad-eel-12", state="pending", reason="pool-add", **NO_OFFER),
        make_instance(name="keen-cod-13", state="terminated", reason="provisioning-failed", detail="no capacity"),
        make_instance(name="wise-ray-14", state="terminated", reason="idle-timeout"),
    ]
    ended = cli("pool", "ps")
    resources = "24xCPU, 220GB, 1xA100 (80GB), 100GB (disk)"
    assert ended.out.replace(resources, "R").replace("RESOURCES" + " " * 33, "R").replace("-" + " " * 41, "R") == (
        "NAME           BACKEND  REGION   R  SPOT  PRICE  STATUS                            "
        "IDLE FOR  EXPIRES IN  CREATED\n"
        "calm-heron-10  azure    shore-1  R  no    $3.67  idle                              "
        "5m        4m 30s      10m ago\n"
        "deep-crab-11   azure    shore-1  R  yes   $1.20  busy (ann)                        "
        "-         -           10m ago\n"
        "glad-eel-12    -        -        R  -     -      pending                           "
        "-         -           10m ago\n"
        "keen-cod-13    azure    shore-1  R  no    $3.67  terminated (provisioning-failed)  "
        "-         -           10m ago\n"
    )
    assert stub.seen("GET", "/instances")[0].query["ended_since_s"] == "600"
    assert "wise-ray-14" in cli("pool", "ps", "--all").out


def test_piped_cells_can_be_taken_apart(stub, cli):
    stub.instances = [make_instance(), make_instance(name="b", state="pending", **NO_OFFER)]
    for line in cli("pool", "ps").out.splitlines():
        assert len([part for part in line.split("  ") if part.strip()]) == 10


def test_pool_ps_follows_the_pages(stub, cli):
    stub.page = 2
    stub.instances = [make_instance(name=f"i{n}") for n in range(5)]
    assert len(cli("pool", "ps").out.splitlines()) == 6
    assert [one["name"] for one in json.loads(cli("pool", "ps", "--json").out)] == [f"i{n}" for n in range(5)]


def test_a_project_without_pools_has_no_instances_and_no_failure(stub, cli):
    stub.pools = []
    ended = cli("pool", "ps", "--json")
    assert (ended.code, ended.out, ended.err) == (0, "[]\n", "")
    assert "no pool yet" in cli("pool", "ps").err


def test_pool_ps_of_an_unknown_pool_is_not_found(stub, cli):
    ended = cli("pool", "ps", "--pool", "nope")
    assert (ended.code, ended.out, ended.err) == (4, "", "error: 'nope' is unknown\n")


def test_watching_shows_it_again_until_interrupted(stub, cli, clock, monkeypatch):
    stub.instances = [make_instance()]
    naps = iter([None, None, KeyboardInterrupt])

    def nap(seconds):
        assert seconds == 2.0
        if error := next(naps):
            raise error

    monkeypatch.setattr(clock, "sleep", nap)
    ended = cli("pool", "ps", "--watch")
    assert (ended.code, ended.out.count("calm-heron-10"), ended.err) == (0, 3, "")


def test_adding_shows_the_plan_asks_orders_and_waits(stub, cli):
    stub.scripts["new-one"] = [
        {"state": "pending"},
        {"state": "provisioning", "attempts": [make_attempt(state="intent")]},
        {"attempts": [make_attempt(state="refused", kind="no_capacity", detail="sold out")]},
        {
            "attempts": [
                make_attempt(state="refused", kind="no_capacity", detail="sold out"),
                make_attempt(number=2, offer=make_offer(region="shore-2")),
            ]
        },
        {"state": "idle", **{key: value for key, value in make_instance().items() if key in NO_OFFER}},
    ]
    ended = cli("pool", "add", "--gpu", "80GB", stdin="y\n")
    assert ended.code == 0
    assert ended.out.startswith(
        "BACKEND  REGION   RESOURCES                                   SPOT  PRICE\n"
        "local    shore-1  24xCPU, 220GB, 1xA100 (80GB), 100GB (disk)  no    $3.67 (simulated)\n"
        "NAME "
    )
    assert ended.err.startswith("Continue? [y/n]: ")
    assert "attempt 1: local shore-1 tide.a100 at $3.67 (simulated)/h: asking the provider\n" in ended.err
    assert "attempt 1: local shore-1 tide.a100 at $3.67 (simulated)/h: no_capacity - sold out\n" in ended.err
    assert "attempt 2: local shore-2 tide.a100 at $3.67 (simulated)/h: launched, waiting for its agent\n" in ended.err
    assert "new-one is ready after" in ended.err
    assert body(stub, "POST", "/plan") == {"requirements": {"gpu": "80GB"}}
    assert body(stub, "POST", "/instances") == {"requirements": {"gpu": "80GB"}}


def test_every_option_of_adding_reaches_the_api(stub, cli):
    words = (
        "pool add -y --no-wait --pool default-pool --name n1 --max-price 2.5 -b aws -b azure -r eu --region us "
        "--instance-type t1 --spot-auto --idle-duration off --retry-duration 1h --cpu 4.. --memory 32GB --gpu A100:2 "
        "--disk 100GB --shared-memory 8GB --max-offers 7 --allow-gpu"
    )
    assert cli(*words.split()).code == 0
    shared = {
        "requirements": {"cpu": "4..", "memory": "32GB", "gpu": "A100:2", "disk": "100GB", "shared_memory": "8GB"},
        "allow_gpu": True,
        "backends": ["aws", "azure"],
        "regions": ["eu", "us"],
        "instance_types": ["t1"],
        "spot_policy": "auto",
        "max_price": 2.5,
        "idle_duration": "off",
        "retry": {"duration": "1h"},
    }
    assert body(stub, "POST", "/plan") == {**shared, "pool": "default-pool", "max_offers": 7}
    assert body(stub, "POST", "/instances") == {**shared, "name": "n1"}


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("--spot", "spot_policy", "spot"),
        ("--on-demand", "spot_policy", "on-demand"),
        ("--spot-policy spot", "spot_policy", "spot"),
        ("--retry", "retry", True),
        ("--no-retry", "retry", False),
        ("--idle-duration 0s", "idle_duration", "0s"),
    ],
)
def test_what_an_option_means(stub, cli, words, key, value):
    assert cli("pool", "add", "-y", "--no-wait", *words.split()).code == 0
    assert body(stub, "POST", "/instances") == {key: value}


def test_a_no_changes_nothing(stub, cli):
    ended = cli("pool", "add", stdin="maybe\nNo\n")
    assert (ended.code, stub.seen("POST", "/instances")) == (5, [])
    assert ended.err.count("Continue?") == 2


def test_nobody_to_ask_is_a_usage_error(stub, cli):
    ended = cli("pool", "add")
    assert (ended.code, stub.seen("POST", "/instances")) == (2, [])
    assert "say -y/--yes" in ended.err


def test_no_offers_ends_with_7_and_says_which_filter_it_was(stub, cli):
    stub.plan = make_plan(offers=[], total_offers=0, filters=["price: 4 offers are above $0.10"])
    ended = cli("pool", "add", "-y", "--max-price", "0.1")
    assert ended.code == 7
    assert ended.err == "error: no offer fits these requirements\n  price: 4 offers are above $0.10\n"
    assert stub.seen("POST", "/instances") == []


def test_with_retry_no_offers_now_is_no_reason_to_stop(stub, cli):
    stub.plan = make_plan(offers=[], total_offers=0, filters=["x"])
    assert cli("pool", "add", "-y", "--retry", "--no-wait").code == 0
    assert len(stub.seen("POST", "/instances")) == 1


def test_an_instance_that_does_not_come_up_lists_every_attempt(stub, cli):
    refused = [
        make_attempt(state="refused", kind="quota", detail="limit 0"),
        make_attempt(number=2, state="cleaned", kind="silent", detail="no agent within 10m"),
    ]
    stub.scripts["new-one"] = [
        {"state": "terminating", "reason": "provisioning-failed", "detail": "2 offers failed", "attempts": refused}
    ]
    ended = cli("pool", "add", "-y")
    assert ended.code == 7
    assert ended.err.endswith(
        "error: new-one is not coming up (provisioning-failed): 2 offers failed\n"
        "  attempt 1: local shore-1 tide.a100 at $3.67 (simulated)/h: quota - limit 0\n"
        "  attempt 2: local shore-1 tide.a100 at $3.67 (simulated)/h: silent - no agent within 10m\n"
        "  ask local for a larger quota in shore-1, or allow other regions or instance types\n"
    )


def test_an_instance_removed_meanwhile_is_a_conflict_not_a_failure(stub, cli):
    stub.scripts["new-one"] = [{"state": "terminating", "reason": "user-removed"}]
    assert cli("pool", "add", "-y").code == 5


def test_waiting_outlasts_an_api_that_is_away_for_a_while(stub, cli):
    def away(request):
        if request.method == "GET" and len(stub.requests) == 3:
            stub.faults = ["503"] * 12

    stub.on_request = away
    stub.scripts["new-one"] = [{"state": "pending"}, {"state": "idle"}]
    ended = cli("pool", "add", "-y")
    assert ended.code == 0
    assert "Service Unavailable; trying again\n" in ended.err
    assert "the control plane is back\n" in ended.err


def test_waiting_ends_when_the_api_stays_away(stub, cli):
    stub.on_request = lambda request: stub.faults.append("503") if request.method == "GET" else None
    assert cli("pool", "add", "-y").code == 8


def test_json_of_adding_is_the_instance_and_nothing_else(stub, cli):
    stub.scripts["new-one"] = [{"state": "idle"}]
    ended = cli("pool", "add", "--json", "-y")
    assert json.loads(ended.out)["state"] == "idle"
    assert ended.err == ""


@pytest.mark.parametrize("words", ["pool add", "pool rm calm-heron-10", "pool delete default-pool --force"])
def test_json_asks_nothing(stub, cli, words):
    stub.instances = [make_instance()]
    ended = cli(*words.split(), "--json", stdin="y\n")
    assert (ended.code, ended.out, stub.requests) == (2, "", [])
    assert json.loads(ended.err)["error"]["detail"] == "--json asks nothing; say -y/--yes"


def test_a_failure_under_json_is_one_line_of_json_with_every_attempt(stub, cli):
    refused = make_attempt(state="refused", kind="quota", detail="limit 0")
    stub.scripts["new-one"] = [
        {"state": "provisioning", "attempts": [refused, make_attempt(number=2)]},
        {"state": "terminating", "reason": "provisioning-failed", "attempts": [refused]},
    ]
    ended = cli("pool", "add", "--json", "-y")
    assert (ended.code, ended.out, ended.err.count("\n")) == (7, "", 1)
    assert json.loads(ended.err)["error"]["attempts"] == [refused]
    stub.instances = [make_instance()]
    stub.on_request = lambda request: stub.faults.append("503") if request.method == "GET" else None
    ended = cli("pool", "rm", "--json", "-y", "calm-heron-10")
    assert (ended.code, json.loads(ended.err)["error"]["code"]) == (8, "unavailable")


def test_an_attempt_that_was_told_is_not_told_again_at_the_end(stub, cli):
    refused = make_attempt(state="refused", kind="quota", detail="limit 0")
    late = make_attempt(number=2, state="cleaned", kind="silent", detail="no agent")
    stub.scripts["new-one"] = [
        {"state": "provisioning", "attempts": [refused]},
        {"state": "terminating", "reason": "provisioning-failed", "attempts": [refused, late]},
    ]
    ended = cli("pool", "add", "-y", "--retry")
    assert (ended.err.count("quota - limit 0"), ended.err.count("silent - no agent")) == (1, 1)
    assert ended.err.count("ask local for a larger quota in shore-1") == 1


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("auth", "tidepool backend test azure"),
        ("auth", "tidepool backend add … --replace"),
        ("balance", "tidepool backend test azure"),
        ("quota", "ask azure for a larger quota in westeurope"),
        ("no_capacity", "`--retry` waits"),
    ],
)
def test_a_refusal_is_told_with_what_to_do_about_it(stub, cli, kind, step):
    offer = make_offer(backend="azure", region="westeurope")
    refused = [make_attempt(number=n, offer=offer, state="refused", kind=kind, detail="no") for n in (1, 2)]
    stub.scripts["new-one"] = [{"state": "terminated", "reason": "provisioning-failed", "attempts": refused}]
    assert cli("pool", "add", "-y").err.count(step) == 1


def test_removing_shows_asks_and_waits_until_it_is_gone(stub, cli):
    stub.instances = [make_instance()]
    stub.scripts["calm-heron-10"] = [{}, {"state": "terminating"}, {"state": "terminated"}]
    ended = cli("pool", "rm", "calm-heron-10", stdin="y\n")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "calm-heron-10 terminated")
    assert "Remove? [y/n]: " in ended.err


def test_waiting_for_an_end_shows_what_it_waits_for(stub, cli):
    stub.instances = [make_instance()]
    stub.scripts["calm-heron-10"] = [{"detail": "the provider still has it"}, {"state": "terminated"}]
    ended = cli("pool", "rm", "-y", "calm-heron-10")
    assert ended.err == "calm-heron-10: terminating\ncalm-heron-10: terminating (the provider still has it)\n"


def test_what_was_shown_is_removed_by_its_id_and_pool_once(stub, cli):
    stub.instances = [make_instance()]
    assert cli("pool", "rm", "--no-wait", "calm-heron-10", "i-calm-heron-10", stdin="y\n").code == 0
    (asked,) = stub.seen("DELETE", "")
    assert asked.path.endswith("/instances/i-calm-heron-10")
    assert asked.query == {"pool": "default-pool"}


def test_a_pool_that_is_named_is_asked_for_whatever_pool_was_shown(stub, cli):
    stub.instances = [make_instance()]
    cli("pool", "rm", "--no-wait", "--pool", "other", "calm-heron-10", stdin="y\n")
    assert stub.seen("DELETE", "i-calm-heron-10")[0].query == {"pool": "other"}


def test_remove_is_the_same_and_takes_several(stub, cli):
    stub.instances = [make_instance(), make_instance(name="b")]
    ended = cli("pool", "remove", "-y", "--no-wait", "--force", "--pool", "default-pool", "calm-heron-10", "b")
    assert ended.out == "calm-heron-10 terminating\nb terminating\n"
    assert stub.seen("DELETE", "/b")[0].query == {"force": "true", "pool": "default-pool"}


@pytest.mark.parametrize("as_json", [False, True], ids=["told", "json"])
def test_one_that_is_unknown_or_busy_keeps_no_other_and_all_are_told(stub, cli, as_json):
    stub.instances = [make_instance(), make_instance(name="b"), make_instance(name="at-work")]
    stub.refusals[("DELETE", "at-work")] = Problem(409, "busy", "instance 'at-work' is busy")
    stub.scripts = {"calm-heron-10": [{"state": "terminated"}], "b": [{"state": "terminated"}]}
    ended = cli("pool", "rm", "-y", "calm-heron-10", "at-work", "nope", "b", *(["--json"] if as_json else []))
    assert ended.code == 4
    if as_json:
        assert [each["name"] for each in json.loads(ended.out)] == ["calm-heron-10", "b"]
        assert json.loads(ended.err)["error"]["refused"] == {"at-work": "busy", "nope": "not-found"}
    else:
        assert ended.out == "calm-heron-10 terminated\nb terminated\n"
        busy, unknown = ended.err.splitlines()[-2:]
        assert (busy, unknown[:7]) == ("instance 'at-work' is busy", "error: ")


@pytest.mark.parametrize("as_json", [False, True], ids=["told", "json"])
def test_what_was_begun_before_all_is_refused_is_told(stub, cli, as_json):
    stub.instances = [make_instance(), make_instance(name="b"), make_instance(name="c")]
    stub.refusals[("DELETE", "/b")] = Problem(401, "unauthenticated", "the token has expired")
    words = ("pool", "rm", "-y", "--no-wait", "calm-heron-10", "b", "c")
    ended = cli(*words, *(["--json"] if as_json else []))
    assert (ended.code, ended.out) == (3, "")
    assert [each["state"] for each in stub.instances] == ["terminating", "idle", "idle"]
    if as_json:
        assert json.loads(ended.err)["error"]["begun"] == ["calm-heron-10"]
    else:
        first, last, *_ = ended.err.splitlines()
        assert first == "calm-heron-10 goes on terminating (tidepool instance show calm-heron-10)"
        assert last.startswith("error: ")


def test_a_busy_instance_is_refused_before_asking_and_by_the_api(stub, cli):
    stub.instances = [make_instance(state="busy", lease={"holder": "run:r1"})]
    ended = cli("pool", "rm", "calm-heron-10")
    assert (ended.code, stub.seen("DELETE", "calm-heron-10")) == (5, [])
    assert ended.err == "error: calm-heron-10 is busy with run:r1; --force ends it\n"
    stub.refusals[("DELETE", "calm-heron-10")] = Problem(409, "busy", "instance 'calm-heron-10' is busy")
    assert cli("pool", "rm", "-y", "calm-heron-10").code == 5
