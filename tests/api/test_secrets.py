"""No secret in any line of the log or any answer, except the one answer that shows a token once."""

import re

from chalicelib import log
from tests.api.conftest import settle


def test_a_whole_story_leaves_no_secret_in_the_log_or_an_answer(api, capsys):
    api.token = api("POST", "/projects/acme/tokens", {"name": "ci", "role": "admin"}).body["token"]
    texts = [
        api(method, path, body).text
        for method, path, body in [
            ("POST", "/projects/acme/pools/main/instances", {}),
            ("POST", "/projects/acme/runs", {"argv": ["x"], "env": {"PASSWORD": "hunter2hunter2"}}),
            ("POST", "/projects/acme/runs", {"argv": ["x"], "env": {"PASSWORD": 12345678901}}),
            ("POST", "/projects/acme/runs", {"argv": ["x"], "env": "hunter2hunter2"}),
            ("GET", "/projects/acme/runs", None),
        ]
    ]
    settle(api.world)
    listed = api("GET", "/projects/acme/pools/main/instances").body["items"]
    texts += [api("GET", f"/projects/acme/instances/{each['name']}").text for each in listed]
    texts += [api("GET", "/projects/acme/tokens").text, capsys.readouterr().out]
    bootstraps = [re.search(r"tpb\.\w+\.([\w-]+)", text)[1] for text in api.world.cloud.user_data.values()]
    agents = [agent.secret for agent in api.world.agents.values()]
    secrets = [api.token.rpartition(".")[2], "hunter2", "12345678901", *bootstraps, *agents]
    assert len(secrets) == 7
    for secret in secrets:
        assert not [text for text in texts if secret in text], secret


def test_the_log_cuts_out_what_looks_like_a_token_or_a_signature(capsys):
    log.error("x", ValueError("tp.abc.secret1"), url="https://q/?X-Amz-Signature=secret2&X-Amz-Security-Token=secret3")
    log.event("y", text="tpa.i-1-1.secret4 and tpb.abc.secret5")
    logged = capsys.readouterr().out
    assert "secret" not in logged
    assert "tp.abc.***" in logged


def test_every_answer_is_logged_once_with_its_request(api, capsys):
    api("GET", "/projects/acme/pools")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '"answered"' in line]
    assert '"route": "/v1/projects/{project}/pools"' in line
    assert '"status": 200' in line
    assert api.token.split(".")[1] in line
