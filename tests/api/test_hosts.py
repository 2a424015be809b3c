"""Servers that somebody owns, over HTTP: the key goes in and never comes out."""

import json

import pytest

from chalicelib.domain.model import Role
from tests.api.conftest import POOL, PROJECT, settle
from tests.services.sim_hosts import private_key

HOSTS = f"/projects/{PROJECT}/pools/{POOL}/hosts"


def box(**more):
    return {"host": "box-1", "user": "ubuntu", "private_key": private_key(), **more}


def idle(api, **more):
    """A host that is adopted; its instance."""
    added = api("POST", HOSTS, box(**more))
    assert added.status == 202, added.text
    settle(api.world)
    return api("GET", f"/projects/{PROJECT}/instances/{added.body['instance_id']}").body


def test_a_server_is_added_shown_and_listed(api):
    api.world.hosts.add("box-1")
    shown = idle(api, name="mine")
    assert (shown["state"], shown["backend"], shown["region"], shown["price_micros"]) == ("idle", "ssh", "remote", 0)
    assert shown["host"]["step"] == "done"
    assert {check["status"] for check in shown["host"]["checks"]} <= {"pass", "warn"}
    (listed,) = api("GET", f"/projects/{PROJECT}/hosts").body["items"]
    assert listed["instance"]["name"] == "mine"
    assert listed["host"]["destination"] == "ubuntu@box-1"


def test_what_a_region_may_be_called_is_said_in_words(api):
    refused = api("POST", HOSTS, box(region="rack 7"))
    assert (refused.status, refused.body["field"]) == (422, "region")
    assert "letters, digits" in refused.body["expected"]
    assert "pattern" not in refused.body["expected"]


def test_nothing_of_the_key_is_in_an_answer_a_row_or_the_log(api, database, capsys):
    api.world.hosts.add("box-1")
    key = private_key().splitlines()[2]
    texts = [
        api("POST", HOSTS, box(), idempotency_key="once").text,
        api("POST", HOSTS, box(), idempotency_key="once").text,
    ]
    settle(api.world)
    texts.append(api("GET", f"/projects/{PROJECT}/hosts").text)
    for table in database.list_tables()["TableNames"]:
        texts.append(json.dumps(database.scan(TableName=table)["Items"], default=str))
    texts.append(capsys.readouterr().out)
    assert not [text for text in texts if key in text]


def test_the_same_server_again_is_the_same_instance_or_a_conflict_that_says_why(api):
    first = api("POST", HOSTS, box())
    assert api("POST", HOSTS, box()).body["instance_id"] == first.body["instance_id"]
    other = api("POST", HOSTS, box(region="rack-7"))
    assert (other.status, other.code) == (409, "conflict")
    assert other.body["differences"] == {"region": {"is": "remote", "asked": "rack-7"}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"private_key": "ssh-ed25519 AAAA"}, "private_key"),
        ({"private_key": "", "passphrase": "x"}, "passphrase"),
        ({"private_key": ""}, "private_key"),
        ({"from_here": True}, "private_key"),
        ({"network": "ten"}, "network"),
        ({"way": "gate:22"}, "way"),
        ({"gpu": "A100:many"}, "gpu"),
        ({"host_key": "no key"}, "host_key"),
        ({"host": "-oProxyCommand=x"}, "host"),
        ({"user": "a b"}, "user"),
        ({"port": 0}, "port"),
        ({"name": "Nope!"}, "name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field_and_leaves_nothing(api, change, field):
    refused = api("POST", HOSTS, box(**change))
    assert refused.status == 422, refused.text
    assert field in refused.body["field"]
    assert api.world.secrets.kept == {}
    assert private_key().splitlines()[2] not in refused.text


@pytest.mark.parametrize("path", [HOSTS, f"/projects/{PROJECT}/host-checks"])
@pytest.mark.parametrize(
    "change",
    [
        {"private_key": private_key().splitlines()},
        {"private_key": private_key() * 400},
        {"private_key": None, "privatekey": private_key()},
        {"passphrase": 4711471147},
        {"passphrase": ["4711471147"]},
        {"jump": {"host": "gate", "user": "me", "private_key": private_key()}},
    ],
    ids=["lines", "long", "misspelt", "number", "list", "jump"],
)
def test_nothing_of_a_key_is_echoed_when_something_is_wrong_with_it(api, path, change):
    refused = api("POST", path, box(**change), idempotency_key="once")
    assert refused.status == 422, refused.text
    assert private_key().splitlines()[2][:20] not in refused.text
    assert "4711471147" not in refused.text


@pytest.mark.parametrize("field", ["host", "user", "way", "name"])
def test_a_name_that_steers_a_terminal_is_refused(api, field):
    refused = api("POST", HOSTS, {"host": "box-1", "user": "ubuntu", "from_here": True, field: "x\x1b[2Jy"})
    assert (refused.status, refused.body["field"]) == (422, field)


@pytest.mark.parametrize("gpu", ["A100:2", {"name": "A100", "count": 2}])
def test_what_the_host_must_have_may_be_said_in_either_way(api, gpu):
    api.world.hosts.add("box-1", gpus=1)
    begun = api("POST", f"/projects/{PROJECT}/host-checks", box(gpu=gpu))
    assert begun.status == 202, begun.text
    settle(api.world)
    found = api("GET", f"/projects/{PROJECT}/host-checks/{begun.body['check_id']}").body
    assert [check["code"] for check in found["host"]["checks"] if check["status"] == "fail"] == ["gpus-missing"]


def test_a_client_gets_the_scripts_and_hands_in_what_they_print(api):
    host = api.world.hosts.add("box-1")
    api("POST", HOSTS, {"host": "box-1", "user": "ubuntu", "from_here": True, "name": "mine"})
    path = f"/projects/{PROJECT}/hosts/mine/steps"
    step, seen = api("POST", path, {}).body, []
    while step["script"] and len(seen) < 5:
        seen.append((step["step"], step["sudo"]))
        done = host.execute(step["script"], api.world.clock)
        said = {"step": step["step"], "exit_code": done.exit_code, "stdout": done.stdout, "stderr": done.stderr}
        step = api("POST", path, {**said, "host_key": host.fingerprint}).body
    assert seen == [("preflight", False), ("install", True)]
    settle(api.world)
    assert api("POST", path, {}).body["over"]
    assert api("GET", f"/projects/{PROJECT}/instances/mine").body["host"]["host_key"] == host.fingerprint


def test_what_a_client_hands_in_is_no_reason_for_an_error_of_the_server(api):
    added = api("POST", HOSTS, {"host": "box-1", "user": "ubuntu", "from_here": True})
    path = f"/projects/{PROJECT}/hosts/{added.body['instance_id']}/steps"
    printed = "tidepool-probe\t1\nip\t2: eth0    inet 999.1.1.1/24 scope global eth0\nend\ttidepool-probe\n"
    answer = api("POST", path, {"step": "preflight", "stdout": printed})
    assert answer.status == 200
    assert (answer.body["step"], answer.body["script"]) == ("failed", None)


def test_a_question_with_another_key_than_the_pinned_one_is_answered_by_the_end(api):
    host = api.world.hosts.add("box-1")
    api("POST", HOSTS, {"host": "box-1", "user": "ubuntu", "from_here": True, "name": "mine"})
    path = f"/projects/{PROJECT}/hosts/mine/steps"
    assert api("POST", path, {"host_key": host.fingerprint}).body["script"]
    ended = api("POST", path, {"host_key": "SHA256:" + "x" * 43}).body
    assert (ended["over"], ended["script"]) == (True, None)
    assert ended["host"]["failure"].startswith("host-key-changed: ")
    assert ended["host"]["host_key"] == host.fingerprint


def test_a_client_may_not_carry_what_the_control_plane_carries(api):
    api.world.hosts.add("box-1")
    api("POST", HOSTS, box(name="mine"))
    assert api("POST", f"/projects/{PROJECT}/hosts/mine/steps", {}).code == "conflict"


def test_a_check_adopts_nothing_and_names_what_to_fix(api):
    api.world.hosts.add("box-1", sudo="no")
    begun = api("POST", f"/projects/{PROJECT}/host-checks", box())
    settle(api.world)
    found = api("GET", f"/projects/{PROJECT}/host-checks/{begun.body['check_id']}").body
    assert found["over"]
    (failed,) = [check for check in found["host"]["checks"] if check["status"] == "fail"]
    assert failed["code"] == "sudo-needs-password"
    assert failed["fix"]
    assert api("GET", f"/projects/{PROJECT}/hosts").body["items"] == []
    assert api.world.secrets.kept == {}


def test_a_refresh_is_for_hosts_that_are_ready(api, ready):
    api.world.hosts.add("box-1")
    shown = idle(api)
    assert api("POST", f"/projects/{PROJECT}/instances/{shown['name']}/refresh", {}).status == 202
    rented = ready()
    assert api("POST", f"/projects/{PROJECT}/instances/{rented['name']}/refresh", {}).status == 404


def test_a_removed_host_that_is_away_is_listed_until_it_is_clean(api):
    host = api.world.hosts.add("box-1")
    shown = idle(api)
    host.cut = True
    assert api("DELETE", f"/projects/{PROJECT}/instances/{shown['name']}").status == 202
    for _ in range(20):
        api.world.pass_time(10)
        api.world.run_workflows()
    (listed,) = api("GET", f"/projects/{PROJECT}/hosts").body["items"]
    assert listed["instance"]["state"] == "terminated"
    assert listed["host"]["cleanup_pending_since"]
    host.cut = False
    api.world.sync_all()
    assert api("GET", f"/projects/{PROJECT}/hosts").body["items"] == []
    assert host.is_clean


@pytest.mark.parametrize("role", [Role.VIEWER, Role.USER])
def test_only_a_manager_adds_hosts(api, token_for, role):
    assert api("POST", HOSTS, box(), token=token_for(role)).status == 403
    assert api("GET", f"/projects/{PROJECT}/hosts", token=token_for(role)).status == 200
