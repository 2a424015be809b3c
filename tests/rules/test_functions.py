"""The Lambda names in the app and in `.chalice/config.json` are one set."""

import json
from pathlib import Path

import app as application

ROOT = Path(__file__).parents[2]


def test_every_function_is_configured_and_nothing_else_is():
    configured = json.loads((ROOT / ".chalice/config.json").read_text())["lambda_functions"]
    registered = set(application.app.handler_map) | {"api_handler"}
    assert set(configured) == registered
