"""Each route with each role: who passes is written down once more here, independently of the routes."""

from datetime import timedelta

import pytest

import app as application
from chalicelib.api.openapi import operations_of
from chalicelib.domain.model import Role
from chalicelib.domain.timers import instance_target
from chalicelib.services import tokens

ROLES = ("viewer", "user", "manager", "admin")
LEAST = {
    "GET /v1/me": "viewer",
    "POST /v1/projects": "admin",
    "GET /v1/projects/{project}/pools": "viewer",
    "POST /v1/projects/{project}/pools": "manager",
    "GET /v1/projects/{project}/pools/{pool}": "viewer",
    "DELETE /v1/projects/{project}/pools/{pool}": "manager",
    "PUT /v1/projects/{project}/default-pool": "manager",
    "POST /v1/projects/{project}/plan": "viewer",
    "GET /v1/projects/{project}/pools/{pool}/instances": "viewer",
    "POST /v1/projects/{project}/pools/{pool}/instances": "manager",
    "GET /v1/projects/{project}/instances/{name}": "viewer",
    "PATCH /v1/projects/{project}/instances/{name}": "manager",
    "DELETE /v1/projects/{project}/instances/{name}": "manager",
    "POST /v1/projects/{project}/pools/{pool}/hosts": "manager",
    "GET /v1/projects/{project}/hosts": "viewer",
    "POST /v1/projects/{project}/hosts/{name}/steps": "manager",
    "POST /v1/projects/{project}/instances/{name}/refresh": "manager",
    "POST /v1/projects/{project}/instances/{name}/forget": "manager",
    "POST /v1/projects/{project}/host-checks": "manager",
    "GET /v1/projects/{project}/host-checks/{check_id}": "viewer",
    "POST /v1/projects/{project}/host-checks/{check_id}/steps": "manager",
    "POST /v1/projects/{project}/pools/{pool}/leases": "user",
    "GET /v1/projects/{project}/leases/{lease_id}": "viewer",
    "DELETE /v1/projects/{project}/leases/{lease_id}": "user",
    "POST /v1/projects/{project}/leases/{lease_id}/heartbeat": "user",
    "POST /v1/projects/{project}/uploads": "user",
    "POST /v1/projects/{project}/runs": "user",
    "GET /v1/projects/{project}/runs": "viewer",
    "GET /v1/projects/{project}/runs/{run}": "viewer",
    "POST /v1/projects/{project}/runs/{run}/stop": "user",
    "GET /v1/projects/{project}/runs/{run}/logs": "viewer",
    "GET /v1/projects/{project}/backends": "viewer",
    "GET /v1/projects/{project}/backends/{backend}/spot-statistics": "viewer",
    "POST /v1/projects/{project}/backends": "admin",
    "POST /v1/projects/{project}/backends/{backend}/test": "manager",
    "DELETE /v1/projects/{project}/backends/{backend}": "admin",
    "GET /v1/projects/{project}/tokens": "admin",
    "POST /v1/projects/{project}/tokens": "admin",
    "DELETE /v1/projects/{project}/tokens/{token_id}": "admin",
    "POST /v1/agent/register": "agent",
    "POST /v1/agent/sync": "agent",
}
PUBLIC = {"GET /v1/health", "GET /v1/openapi.json", "GET /v1/agent/program"}


def call(api, route, token):
    method, path = route.split(" ")
    filled = path.removeprefix("/v1").format(
        project="acme",
        pool="nowhere",
        name="nothing",
        lease_id="main.i-0.1",
        run="nothing",
        token_id="0",
        backend="none",
        check_id="none",
    )
    return api(method, filled, {} if method in {"POST", "PUT", "PATCH"} else None, token=token)


def test_the_table_has_every_route():
    assert {f"{each.method} {each.path}" for each in operations_of(application.app)} == set(LEAST) | PUBLIC


@pytest.mark.parametrize("role", ROLES)
def test_a_role_passes_where_it_or_a_lesser_one_is_enough(api, token_for, role):
    token = token_for(Role(role), "*")
    for route, least in LEAST.items():
        answer = call(api, route, token)
        if least == "agent" or ROLES.index(role) < ROLES.index(least):
            assert (answer.status, answer.code) == (403, "forbidden"), route
            assert role in answer.body["detail"]
        else:
            assert answer.status not in {401, 403}, (route, answer.text)


def test_the_highest_role_of_another_project_is_404(api, token_for):
    token = token_for(Role.ADMIN, "other")
    for route in LEAST:
        if "{project}" in route:
            answer = call(api, route, token)
            assert (answer.status, answer.code) == (404, "not-found"), route


def test_no_token_is_401_everywhere(api):
    for route in LEAST:
        assert call(api, route, "").status == 401, route


def test_the_admin_of_one_project_makes_no_projects(api):
    answer = api("POST", "/projects", {"name": "mine"})
    assert (answer.status, answer.code) == (403, "forbidden")


def test_a_machine_reaches_nothing_but_its_own_routes(api):
    expires = api.world.clock + timedelta(hours=1)
    target = instance_target("acme", "main", "i-1")
    token = tokens.issue_bootstrap(
        api.world.deps, project="acme", instance=target, attempt_id="i-1-1", expires_at=expires
    )
    for route, least in LEAST.items():
        if least != "agent" and route != "GET /v1/me":
            assert (call(api, route, token).status, route) == (403, route)
