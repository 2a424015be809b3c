"""Backends by name."""

import subprocess
import sys

import pytest

from chalicelib import config
from chalicelib.backends import registry
from chalicelib.backends.local import LocalBackend
from chalicelib.domain.errors import NotFoundError

ON = {"TIDEPOOL_LOCAL_CLOUD_URL": "http://127.0.0.1:1/", "TIDEPOOL_LOCAL_CLOUD_KEY": "k"}


def test_a_backend_is_configured_by_its_settings():
    assert registry.configured(config.load(ON)) == ("local",)
    assert registry.configured(config.load({})) == ()


def test_a_configured_backend_is_made_under_its_name():
    backend = registry.backend(config.load(ON), "local")
    assert isinstance(backend, LocalBackend)
    assert backend.name == "local"
    assert backend.capabilities.simulated


@pytest.mark.parametrize(("environ", "name"), [(ON, "moon"), ({}, "local")])
def test_a_name_that_is_unknown_or_off_is_not_found(environ, name):
    with pytest.raises(NotFoundError, match=name):
        registry.backend(config.load(environ), name)


def test_no_driver_is_imported_before_it_is_asked_for():
    code = "import sys, chalicelib.backends.registry; print([name for name in sys.modules if 'backends.local' in name])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"
