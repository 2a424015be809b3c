"""The Lambda names in the app and in `.chalice/config.json` are one set, each with rights and limits of its own."""

import json
from pathlib import Path

import app as application

CONFIGURED = json.loads((Path(__file__).parents[2] / ".chalice/config.json").read_text())["lambda_functions"]


def workers() -> set[str]:
    """Every Lambda but the API's: workers, event sources, authorizers."""
    app = application.app
    return {
        *(function.name for function in app.pure_lambda_functions),
        *(source.name for source in app.event_sources),
        *(authorizer.name for authorizer in app.builtin_auth_handlers),
    }


def test_every_function_is_configured_and_nothing_else_is():
    assert set(CONFIGURED) == workers() | {"api_handler"}


def test_every_function_has_rights_and_limits_of_its_own():
    policies = [function["iam_policy_file"] for function in CONFIGURED.values()]
    assert len(set(policies)) == len(policies)
    assert all(function["lambda_timeout"] <= 300 and function["lambda_memory_size"] for function in CONFIGURED.values())
