"""Projects and pools over HTTP."""

from chalicelib.domain.model import Role


def test_a_project_is_made_by_an_admin_of_every_project(api, token_for):
    everywhere = token_for(Role.ADMIN, "*")
    made = api("POST", "/projects", {"name": "new"}, token=everywhere)
    assert (made.status, made.body) == (201, {"name": "new", "default_pool": None})
    again = api("POST", "/projects", {"name": "new"}, token=everywhere)
    assert (again.status, again.code) == (409, "already-exists")


def test_a_pool_is_made_listed_shown_and_deleted(api):
    assert api("POST", "/projects/acme/pools", {"name": "gpus"}).body["is_default"] is False
    listed = api("GET", "/projects/acme/pools").body
    assert [pool["name"] for pool in listed["items"]] == ["gpus", "main"]
    assert listed["next"] is None
    assert api("GET", "/projects/acme/pools/gpus").body == listed["items"][0]
    assert api("DELETE", "/projects/acme/pools/gpus").body == {"name": "gpus", "deleted": True}
    assert api("GET", "/projects/acme/pools/gpus").code == "not-found"


def test_the_first_pool_is_the_default_until_another_is_chosen(api):
    assert api("GET", "/projects/acme/pools/main").body["is_default"] is True
    api("POST", "/projects/acme/pools", {"name": "gpus"})
    assert api("PUT", "/projects/acme/default-pool", {"name": "gpus"}).body["is_default"] is True
    assert api("GET", "/projects/acme/pools/main").body["is_default"] is False


def test_a_second_pool_of_a_name_is_409(api):
    answer = api("POST", "/projects/acme/pools", {"name": "main"})
    assert (answer.status, answer.code) == (409, "already-exists")


def test_an_unknown_pool_is_404_wherever_it_is_named(api):
    for method, path, body in [
        ("GET", "/pools/nowhere", None),
        ("DELETE", "/pools/nowhere", None),
        ("PUT", "/default-pool", {"name": "nowhere"}),
        ("GET", "/pools/nowhere/instances", None),
        ("POST", "/pools/nowhere/instances", {}),
        ("POST", "/pools/nowhere/leases", {"holder": "me"}),
        ("POST", "/plan", {"pool": "nowhere"}),
        ("POST", "/runs", {"argv": ["true"], "pool": "nowhere"}),
    ]:
        answer = api(method, f"/projects/acme{path}", body)
        assert (answer.status, answer.code) == (404, "not-found"), (method, path, answer.text)


def test_an_unknown_project_is_404_for_those_who_reach_every_project(api, token_for):
    everywhere = token_for(Role.ADMIN, "*")
    for method, path, body in [
        ("GET", "/pools", None),
        ("POST", "/pools", {"name": "p"}),
        ("GET", "/runs", None),
        ("POST", "/runs", {"argv": ["true"]}),
        ("POST", "/uploads", {"sha256": "0" * 64, "size": 1}),
        ("POST", "/tokens", {"name": "x", "role": "user"}),
        ("POST", "/plan", {}),
    ]:
        answer = api(method, f"/projects/nowhere{path}", body, token=everywhere)
        assert (answer.status, answer.code) == (404, "not-found"), (method, path, answer.text)


def test_a_pool_with_instances_is_deleted_only_by_force_and_drains(api, ready):
    ready()
    refused = api("DELETE", "/projects/acme/pools/main")
    assert (refused.status, refused.code) == (409, "pool-not-empty")
    assert api("DELETE", "/projects/acme/pools/main?force=true").body == {"name": "main", "deleted": False}
    api.world.run_workflows()
    api.world.pass_time(30)
    api.world.run_workflows()
    assert api("GET", "/projects/acme/pools/main").status == 404
