"""Tables about hosts, at the widths that terminals have."""

import io

import pytest

from tests.cli.builders import NOW, make_check, make_host_facts, make_instance
from tidepool.commands.host import show_hosts
from tidepool.host_results import show_checks
from tidepool.output import Output

FOUND = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver: is it installed, and running?"
FIX = "sudo apt-get install -y dkms linux-headers-$(uname -r) && sudo dkms autoinstall && sudo modprobe nvidia"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def at(monkeypatch):
    """Show something at a width; answer the lines."""

    def shown(width, show, *values):
        monkeypatch.setattr(Output, "width", lambda _: width)
        stdout = Terminal()
        show(Output(stdout, io.StringIO(), {"NO_COLOR": "1"}), *values)
        return stdout.getvalue().splitlines()

    return shown


def make_host(name="gpu-node-01", destination="ubuntu@gpu-node-01.cluster.example.org:2222", owed=None, **changes):
    facts = make_host_facts(destination=destination, host_key=f"SHA256:{'A' * 43}", cleanup_pending_since=owed)
    return {"instance": make_instance(name=name, backend="ssh", **changes), "host": facts}


@pytest.mark.parametrize("width", [72, 80, 100, 120, 150, 250])
def test_how_a_host_stands_and_when_it_was_heard_of_are_whole_at_every_width(at, width):
    owed = make_host(state="terminated", owed="2029-12-31T23:59:00+00:00")
    lines = at(width, show_hosts, [make_host(), owed], NOW)
    assert max(map(len, lines)) <= width
    assert lines[0].endswith("  STATUS                        LAST HEARD OF")
    assert "  idle   " in lines[1]
    assert "  terminated (cleanup pending)  " in lines[2]
    assert all(line.startswith("gpu-node-01 ") for line in lines[1:])


def test_what_a_narrow_terminal_has_no_room_for_goes_as_whole_columns(at):
    columns = {width: at(width, show_hosts, [make_host()], NOW)[0].split("  ") for width in (80, 110, 130, 250)}
    assert {width: sum(bool(name) for name in names) for width, names in columns.items()} == {
        80: 4,
        110: 6,
        130: 7,
        250: 8,
    }
    assert not any("…" in name for names in columns.values() for name in names)


def test_networks_are_listed_with_their_sites_as_soon_as_one_has_a_name(at):
    hosts = [make_host(name=f"a{site}", region=site) for site in ("remote", "dc1")]
    for each in hosts:
        each["host"]["network"] = "10.0.0.0/24"
    one, two = at(250, show_hosts, hosts, NOW)[1:]
    assert ("  remote 10.0.0.0/24  " in one, "  dc1 10.0.0.0/24  " in two) == (True, True)
    (alone,) = at(250, show_hosts, hosts[:1], NOW)[1:]
    assert "remote" not in alone.replace("aremote", "")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_of_what_a_check_found_is_lost_on_a_terminal(at, width):
    failed = make_check(check="driver", status="fail", code="driver-not-working", found=FOUND, fix=FIX)
    header, _, *lines = at(width, show_checks, [make_check(), failed])
    assert lines[-1] == f"fix driver: {FIX}"
    start = header.index("FOUND")
    assert " ".join(line[start:] for line in lines[:-1]) == FOUND
    assert width == 40 or max(map(len, lines[:-1])) <= width
