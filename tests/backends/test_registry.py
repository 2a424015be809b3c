"""Backends by name."""

import subprocess
import sys

import pytest

from chalicelib import config
from chalicelib.backends import registry
from chalicelib.backends.base import Account
from chalicelib.backends.local import LocalBackend
from chalicelib.domain.errors import InvalidInputError, NotFoundError

ON = {"TIDEPOOL_LOCAL_CLOUD_URL": "http://127.0.0.1:1/", "TIDEPOOL_LOCAL_CLOUD_KEY": "k"}


def test_the_settings_turn_on_what_every_project_has():
    assert registry.built_in(config.load(ON)) == ("local",)
    assert registry.built_in(config.load({})) == ()


def test_a_driver_bears_the_name_of_its_account():
    backend = registry.driver(config.load(ON), Account("main", "sandbox", "local"))
    assert isinstance(backend, LocalBackend)
    assert backend.name == "sandbox"
    assert backend.capabilities.simulated


def test_a_kind_without_a_driver_is_not_found():
    with pytest.raises(NotFoundError, match="moon"):
        registry.driver(config.load(ON), Account("main", "mine", "moon"))


def test_no_driver_is_imported_before_it_is_asked_for():
    code = "import sys, chalicelib.backends.registry; print([name for name in sys.modules if 'backends.local' in name])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_what_settings_turn_on_cannot_be_added():
    drivers = registry.Drivers(config.load(ON))
    assert drivers.built_in() == ("local",)
    assert "local" not in drivers.kinds()
    with pytest.raises(InvalidInputError, match="kind"):
        drivers.parse("local", {}, {})


@pytest.mark.parametrize("kind", registry.Drivers(config.load({})).kinds())
def test_every_kind_that_can_be_added_reads_its_configuration_without_an_sdk(kind):
    script = (
        "import sys\n"
        "from chalicelib import config\n"
        "from chalicelib.backends import registry\n"
        "from chalicelib.domain.errors import InvalidInputError\n"
        "try:\n"
        f"    registry.Drivers(config.load({{}})).parse({kind!r}, {{}}, {{}})\n"
        "except InvalidInputError as error:\n"
        "    assert error.field.startswith('config.'), error.field\n"
        "else:\n"
        "    raise AssertionError('an account needs some configuration')\n"
        "assert not {'boto3', 'botocore', 'azure'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
