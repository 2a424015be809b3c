"""Backends over HTTP: what is answered, and that credentials are not."""

from dataclasses import replace

import pytest

from chalicelib.api import backend_wire as wire
from chalicelib.backends.base import Check
from chalicelib.services import backends, catalog
from chalicelib.services.backends import Wanted
from chalicelib.store import calls
from chalicelib.store.models import BackendRow, IdempotencyRow

BACKENDS = "/projects/acme/backends"
KEY = "hunter2hunter2"
BODY = {"kind": "moon", "config": {"crater": "copernicus"}, "credentials": {"key": KEY}}
BAD = [Check("rights", ok=False, detail="no launch", fix="grant it")]


def test_a_backend_is_added_listed_tested_and_removed(api):
    added = api("POST", BACKENDS, BODY)
    assert added.status == 201
    assert (added.body["name"], added.body["state"], added.body["checkup"]["ok"]) == ("moon", "open", True)
    listed = api("GET", BACKENDS).body["items"]
    assert [(each["name"], each["built_in"]) for each in listed] == [("sim", True), ("moon", False)]
    assert listed[1] == added.body
    api.world.drivers.check = lambda _account: BAD
    tested = api("POST", f"{BACKENDS}/moon/test", {})
    assert (tested.status, tested.body["ok"]) == (200, False)
    assert tested.body["checks"] == [{"name": "rights", "ok": False, "detail": "no launch", "fix": "grant it"}]
    assert api("GET", BACKENDS).body["items"][1]["checkup"] == tested.body
    assert api("DELETE", f"{BACKENDS}/moon").body == {"name": "moon", "removed": True}
    assert api("DELETE", f"{BACKENDS}/moon").code == "not-found"


def test_a_failing_check_is_422_with_what_to_do(api):
    api.world.drivers.check = lambda _account: BAD
    refused = api("POST", BACKENDS, BODY)
    assert (refused.status, refused.code) == (422, "backend-check-failed")
    assert refused.body["checks"][0]["fix"] == "grant it"
    assert api("POST", BACKENDS, {**BODY, "check": False}).status == 201


def test_a_taken_name_is_409_until_it_is_replaced(api):
    api("POST", BACKENDS, BODY)
    assert api("POST", BACKENDS, BODY).code == "already-exists"
    replaced = api("POST", BACKENDS, {**BODY, "replace": True})
    assert (replaced.status, replaced.body["version"]) == (201, 2)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "venus"}, "kind"),
        ({"kind": "moon", "name": "local"}, "name"),
        ({"kind": "moon", "name": "No"}, "name"),
        ({"kind": "moon", "credentials": {}}, "credentials.key"),
        ({"kind": "moon", "credentials": {"key": 17_171_717_171}}, "credentials.key"),
        ({"kind": "moon", "credentials": "secret-secret"}, "credentials"),
        ({"kind": "moon", "credentials": {"key": "secret-secret" * 2000}}, "credentials"),
        ({"kind": "moon", "credential": {"key": "secret-secret"}}, "credential"),
        ({"kind": "moon", "key": "secret-secret"}, "key"),
        ({"kind": "moon", "config": {"secret_key": "secret-secret"}, "credentials": {"key": KEY}}, "config.secret_key"),
        ({"kind": "moon", "credentials": {"key": "secret"}}, "credentials.key"),
    ],
)
def test_bad_input_is_422_and_repeats_no_credential(api, body, field, capsys):
    refused = api("POST", BACKENDS, body)
    assert (refused.status, refused.body["field"]) == (422, field)
    told = refused.text + capsys.readouterr().out
    for secret in ("secret-secret", '"secret"', "17171717171", KEY):
        assert secret not in told


def test_credentials_are_in_no_answer_no_log_and_no_table(api, capsys):
    api.world.drivers.check = lambda account: [Check("a", ok=True, detail=f"seen {account.credentials['key']}")]
    texts = [
        api("POST", BACKENDS, BODY, idempotency_key="k").text,
        api("POST", BACKENDS, BODY, idempotency_key="k").text,
        api("POST", BACKENDS, BODY).text,
        api("POST", BACKENDS, {**BODY, "replace": True}).text,
        api("POST", f"{BACKENDS}/moon/test", {}).text,
        api("GET", BACKENDS).text,
        *(str(item) for model in (BackendRow, IdempotencyRow) for item in calls.scan_all(model)),
        api("DELETE", f"{BACKENDS}/moon").text,
        capsys.readouterr().out,
    ]
    assert len(texts) == 10
    assert not [text for text in texts if KEY in text]
    assert any("***" in text for text in texts)


def test_an_external_id_is_shown_as_set(api):
    """Whoever knows it, and the role, could rent with them from another project."""
    wanted = Wanted("mine", "moon", {}, {"key": KEY})
    record = replace(backends.add(api.world.deps, "acme", wanted, actor="x"), config={"external_id": "e-1"})
    assert wire.backend(record)["config"] == {"external_id": "(set)"}


def test_the_age_of_a_catalog_is_listed_unless_it_is_that_of_a_former_account(api):
    key = catalog.own_key("acme", "moon")
    api.world.objects.put(key, b"")
    api.world.pass_time(60)
    api("POST", BACKENDS, BODY)
    assert api("GET", BACKENDS).body["items"][1]["catalog_at"] is None
    api.world.pass_time(60)
    api.world.objects.put(key, b"")
    assert api("GET", BACKENDS).body["items"][1]["catalog_at"] == "2030-01-02T03:06:05.000Z"


def test_a_driver_that_fails_leaves_no_credential_behind(api, capsys):
    def fault(account):
        raise ValueError(f"odd {account.credentials}")

    api.world.drivers.check = fault
    refused = api("POST", BACKENDS, BODY)
    assert refused.code == "backend-check-failed"
    assert KEY not in refused.text + capsys.readouterr().out


def test_the_backends_of_an_unknown_project_are_404(api, token_for):
    from chalicelib.domain.model import Role

    token = token_for(Role.ADMIN, "*")
    assert api("GET", "/projects/nowhere/backends", token=token).status == 404
    assert api("POST", "/projects/nowhere/backends", BODY, token=token).status == 404
