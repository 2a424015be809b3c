"""What a fake provider runs as its machines: real processes that execute the user data, as on the local cloud.

A machine is a folder and a supervisor (`infra.local.cloud.supervisor`) which keeps the user data running there. Every
process of it is found by its mark, so that a fake can end all of them and can say what is left.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from infra.local.cloud import folders, processes, supervisor
from infra.local.cloud.catalog import GpuModel, MachineType

ROOT = Path(__file__).parents[2]


class Machines:
    """The running machines of one fake. `folder` gets a folder for each, named by its id; `grace_s` is from SIGTERM
    to SIGKILL. Threads may share it."""

    def __init__(self, folder: Path, *, grace_s: float = 0.5) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._grace_s = grace_s
        self._guard = threading.Lock()
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: dict[str, threading.Thread] = {}

    def start(
        self,
        machine_id: str,
        user_data: str,
        env: Mapping[str, str] | None = None,
        gpu: tuple[GpuModel, int] | None = None,
    ) -> None:
        """Turn a machine on. `env` is added to what its user data sees; `gpu` is what its `nvidia-smi` shows."""
        folder = self.folder / machine_id
        folders.prepare(folder, machine_id, _kind(gpu), user_data, boot_delay_s=0.0, silent=False)
        plan = json.loads((folder / "machine.json").read_text())
        plan["env"] |= env or {}
        (folder / "machine.json").write_text(json.dumps(plan))
        with (folder / "supervisor.log").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.cloud.supervisor", str(folder)],
                cwd=ROOT,
                env=folders.environment(folder, machine_id, dict(os.environ)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        with self._guard:
            self._supervisors[machine_id] = process

    def alive(self, machine_id: str) -> bool:
        """Whether a machine is on: false as soon as it powered itself off, was told to stop, or was never started."""
        with self._guard:
            ours = self._supervisors.get(machine_id)
            if machine_id in self._ending:
                return False
        if ours is not None:
            return ours.poll() is None
        return supervisor.is_on(self.folder / machine_id)

    def stop(self, machine_id: str) -> None:
        """Begin the end of a machine and return at once. Repeating it, or naming none, is fine."""
        with self._guard:
            if machine_id not in self._ending:
                end = threading.Thread(target=self._end, args=(machine_id,), name=f"end-{machine_id}", daemon=True)
                self._ending[machine_id] = end
                end.start()

    def left(self, machine_id: str) -> list[str]:
        """Name what is left of a machine: its processes and its folder."""
        folder = self.folder / machine_id
        return [f"process {process.pid}" for process in processes.living(machine_id)] + [str(folder)] * folder.exists()

    def close(self) -> None:
        """End every machine, and wait until nothing is left of them."""
        for path in self.folder.iterdir():
            if path.is_dir():
                self.stop(path.name)
        with self._guard:
            ending = list(self._ending.values())
        for end in ending:
            end.join()

    def _end(self, machine_id: str) -> None:
        with self._guard:
            ours = self._supervisors.pop(machine_id, None)
        processes.end(machine_id, grace_s=self._grace_s, root=ours.pid if ours else 0)
        if ours is not None:
            ours.wait(processes.STUBBORN_S)
        shutil.rmtree(self.folder / machine_id, ignore_errors=True)
        with self._guard:
            del self._ending[machine_id]


def _kind(gpu: tuple[GpuModel, int] | None) -> MachineType:
    """What `folders.prepare` asks about a machine: only its GPUs."""
    model, count = gpu or (None, 0)
    return MachineType("rented", "", "", 1, 1, 1, price_micros=1, gpu=model, gpu_count=count)
