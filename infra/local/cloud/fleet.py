"""The machines of the local cloud: which there are, which are on, and how they end.

Intent first, as any provider must: a machine is in the state file before its supervisor starts, and leaves it only
when its processes and its folder are gone. Whatever the server was doing when it died, the next one finishes it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from infra.local.cloud import folders, processes, supervisor
from infra.local.cloud.catalog import MachineType
from infra.local.cloud.records import Machine, Records
from infra.local.cloud.refusals import RefusedError

TICK_S: Final = 0.1
PAUSE_AFTER_FAILURE_S: Final = 1.0

PROJECT: Final = Path(__file__).parents[3]
"""The folder that `infra` is imported from."""

Now = Callable[[], datetime]
Log = Callable[..., None]
Admit = Callable[[Sequence[Machine]], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asked for. `name` is unique among live machines."""

    name: str
    kind: MachineType
    spot: bool
    user_data: str
    tags: dict[str, str]
    boot_delay_s: float = 0.0
    silent: bool = False


class Fleet:
    """Every machine, behind one lock. At most `max_live` at once; `grace_s` is the time from SIGTERM to SIGKILL."""

    def __init__(self, records: Records, *, now: Now, log: Log, max_live: int, grace_s: float, power_on: bool) -> None:
        self._records = records
        self._now = now
        self._log = log
        self._max_live = max_live
        self._grace_s = grace_s
        self._guard = threading.RLock()
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: set[str] = set()
        self._closing = threading.Event()
        self._resume(power_on)
        self._upkeep = threading.Thread(target=self._watch, name="upkeep", daemon=True)
        self._upkeep.start()

    def close(self) -> None:
        """Stop looking after the machines. They stay on."""
        self._closing.set()
        self._upkeep.join()

    def launch(self, order: Order, admit: Admit) -> dict[str, Any]:
        """Start a machine. `admit` sees the live ones and may refuse, in the same step that takes the place."""
        with self._guard:
            live = self._records.live()
            taken = next((machine for machine in live if machine.name == order.name), None)
            if taken is not None:
                raise RefusedError(409, "name-taken", f"{order.name!r} is a live machine", id=taken.id)
            if len(live) >= self._max_live:
                raise RefusedError(403, "quota", f"this computer runs at most {self._max_live} machines")
            admit(live)
            machine = Machine(
                id=f"m-{uuid4().hex[:16]}",
                name=order.name,
                type=order.kind.name,
                region=order.kind.region,
                zone=order.kind.zone,
                spot=order.spot,
                launched_at=_text(self._now()),
                tags=dict(order.tags),
            )
            self._records.put(machine)
            folders.prepare(
                self._folder(machine),
                machine.id,
                order.kind,
                order.user_data,
                boot_delay_s=order.boot_delay_s,
                silent=order.silent,
            )
            self._start(machine)
            return self.view(machine.id)

    def get(self, machine_id: str) -> Machine:
        """Look up one machine, gone or not. Refuses an id that is unknown or long forgotten."""
        with self._guard:
            machine = self._records.get(machine_id)
        if machine is None:
            raise RefusedError(404, "unknown-machine", f"there is no machine {machine_id!r}")
        return machine

    def view(self, machine_id: str) -> dict[str, Any]:
        """Describe one machine, gone or not."""
        with self._guard:
            return self._view(self.get(machine_id))

    def views(self, tag: tuple[str, str] | None) -> list[dict[str, Any]]:
        """Describe every live machine, or those with one tag."""
        with self._guard:
            return [
                self._view(machine)
                for machine in self._records.live()
                if tag is None or machine.tags.get(tag[0]) == tag[1]
            ]

    def terminate(self, machine_id: str) -> None:
        """Begin the end of a machine. Refuses one that is gone or unknown; repeating it is fine."""
        with self._guard:
            self._begin_end(self._live(machine_id))

    def preempt(self, machine_id: str, after_s: float) -> dict[str, Any]:
        """Give notice, inside the machine as the file `$HOME/interruption`, and end the machine after `after_s`."""
        with self._guard:
            machine = self._live(machine_id)
            if not machine.interrupted_at:
                now = self._now()
                ends_at = _text(now + timedelta(seconds=after_s))
                (self._folder(machine) / "interruption").write_text(f"{ends_at}\n")
                self._records.put(replace(machine, interrupted_at=_text(now), ends_at=ends_at))
            return self.view(machine_id)

    def _live(self, machine_id: str) -> Machine:
        machine = self.get(machine_id)
        if machine.gone:
            raise RefusedError(404, "unknown-machine", f"machine {machine_id!r} is gone")
        return machine

    def _resume(self, power_on: bool) -> None:
        """Finish what an earlier server began; with `power_on` also start machines again that lost their supervisor.

        A machine whose folder was never finished is left as it is: it is not on, so the upkeep ends it.
        """
        for machine in [machine for machine in self._records.live() if not machine.stopping]:
            if supervisor.is_on(self._folder(machine)):
                self._records.put(replace(machine, started=True))
            elif (power_on or not machine.started) and folders.is_ready(self._folder(machine)):
                self._start(machine)

    def _start(self, machine: Machine) -> None:
        folder = self._folder(machine)
        with (folder / "supervisor.log").open("ab") as errors:
            self._supervisors[machine.id] = subprocess.Popen(
                [sys.executable, "-m", "infra.local.cloud.supervisor", str(folder)],
                cwd=PROJECT,
                env=folders.environment(folder, machine.id, dict(os.environ)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self._records.put(replace(machine, started=True))

    def _watch(self) -> None:
        """The upkeep: end what was told to end, what is overdue, and what is not on any more."""
        while not self._closing.wait(TICK_S):
            try:
                with self._guard:
                    for machine in self._records.live():
                        overdue = machine.ends_at and machine.ends_at <= _text(self._now())
                        if machine.stopping or overdue or not self._is_on(machine):
                            self._begin_end(machine)
            except OSError as error:
                self._log("upkeep-failed", error=str(error))
                self._closing.wait(PAUSE_AFTER_FAILURE_S)

    def _is_on(self, machine: Machine) -> bool:
        ours = self._supervisors.get(machine.id)
        return (ours is not None and ours.poll() is None) or supervisor.is_on(self._folder(machine))

    def _begin_end(self, machine: Machine) -> None:
        if machine.id in self._ending:
            return
        if not machine.stopping:
            self._records.put(replace(machine, stopping=True))
        self._ending.add(machine.id)
        threading.Thread(target=self._end, args=(machine.id,), name=f"end-{machine.id}", daemon=True).start()

    def _end(self, machine_id: str) -> None:
        """End the processes, remove the folder, and only then call the machine gone. The upkeep repeats a failure."""
        try:
            with self._guard:
                ours = self._supervisors.get(machine_id)
            processes.end(machine_id, grace_s=self._grace_s, root=ours.pid if ours else 0)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._records.folder / machine_id)
            if ours is not None:
                ours.wait(processes.STUBBORN_S)
            with self._guard:
                self._supervisors.pop(machine_id, None)
                self._records.put(replace(self.get(machine_id), gone=True))
            self._log("machine-gone", id=machine_id)
        except (OSError, subprocess.SubprocessError) as error:
            self._log("machine-end-failed", id=machine_id, error=str(error))
            time.sleep(PAUSE_AFTER_FAILURE_S)
        finally:
            with self._guard:
                self._ending.discard(machine_id)

    def _view(self, machine: Machine) -> dict[str, Any]:
        return {
            "id": machine.id,
            "name": machine.name,
            "type": machine.type,
            "region": machine.region,
            "zone": machine.zone,
            "spot": machine.spot,
            "phase": self._phase(machine),
            "tags": machine.tags,
            "launched_at": machine.launched_at,
            "address": "127.0.0.1",
            "interrupted_at": machine.interrupted_at or None,
        }

    def _phase(self, machine: Machine) -> str:
        if machine.gone:
            return "gone"
        if machine.stopping:
            return "stopping"
        return "running" if (self._folder(machine) / "booted").exists() else "starting"

    def _folder(self, machine: Machine) -> Path:
        return self._records.folder / machine.id


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
