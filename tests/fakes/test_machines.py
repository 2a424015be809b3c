"""The machines that fakes run."""

from pathlib import Path

import pytest

from infra.local.cloud import catalog, processes
from tests.fakes.machines import Machines
from tests.infra_cloud.process import eventually


@pytest.fixture
def machines(tmp_path: Path):
    running = Machines(tmp_path / "machines")
    yield running
    running.close()


def test_a_machine_executes_its_user_data_with_its_environment(machines):
    machines.start("i-1", 'echo "$WHERE" > seen; exec sleep 600', {"WHERE": "here"})
    seen = machines.folder / "i-1" / "seen"
    assert eventually(lambda: seen.exists() and seen.read_text()) == "here\n"
    assert machines.alive("i-1")


def test_a_machine_shows_its_gpus(machines):
    machines.start("i-2", "nvidia-smi -L > all && mv all gpus; exec sleep 600", gpu=(catalog.A100_80, 2))
    seen = machines.folder / "i-2" / "gpus"
    assert len(eventually(lambda: seen.exists() and seen.read_text()).splitlines()) == 2


def test_nothing_is_left_of_a_stopped_machine_and_stopping_twice_is_fine(machines):
    machines.start("i-3", "setsid sleep 600 & exec sleep 600")
    assert machines.left("i-3")
    machines.stop("i-3")
    machines.stop("i-3")
    assert not machines.alive("i-3")
    eventually(lambda: not machines.left("i-3"))
    machines.start("i-3", "exec sleep 600")
    eventually(lambda: machines.alive("i-3"))


def test_a_machine_that_is_stopped_in_the_moment_of_its_start_ends_too(machines, monkeypatch):
    """Its supervisor is being loaded, and nobody can see yet whose it is."""
    monkeypatch.setattr(processes, "_environment", lambda _folder: [])
    machines.start("i-6", "exec sleep 600")
    machines.stop("i-6")
    eventually(lambda: not (machines.folder / "i-6").exists())


def test_a_machine_that_powers_itself_off_is_not_alive(machines):
    machines.start("i-4", 'sh -c "$TIDEPOOL_POWEROFF"; exec sleep 600')
    eventually(lambda: not machines.alive("i-4"))


def test_a_machine_that_was_never_started_is_not_alive_and_can_be_stopped(machines):
    assert not machines.alive("i-5")
    machines.stop("i-5")
    assert machines.left("i-5") == []
