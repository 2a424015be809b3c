"""What stays when the embedded control plane goes: machines at providers bill on, whatever happens on this computer,
and servers that somebody owns keep its agent.
"""

from typing import Final

from botocore.exceptions import BotoCoreError

from infra.deploy import outputs
from infra.local import daemons, snapshot
from infra.local.deploy import Emulator
from infra.local.emulator import root_key
from infra.local.folder import Folder
from infra.local.inside import InsideError
from infra.local.parts import HEALTH, STACK, STAGE, STOP_S, LocalError, answers, emulate, free_port, last_port, stop
from infra.local.rented import Rented, rented

OWN: Final = "ssh"
"""The backend of servers that somebody owns (`domain.host_records.SSH`)."""
END_THEM: Final = "Remove them with `tidepool pool rm` first"
FORCE: Final = "To erase all the same: make down ARGS='--erase --force'"


def left_behind(folder: Folder, *, asleep: bool) -> tuple[list[Rented], str]:
    """What is rented at providers, or why nobody can tell. `asleep`: wake the emulator for it when it does not run."""
    try:
        if daemons.running(folder.pid("control-plane")) and folder.client():
            return rented(Emulator(last_port(folder), root_key(folder.state)), STAGE), ""
        if not asleep or not snapshot.is_stored(folder.state):
            return [], ""
        stop(folder, leave_machines=True)
        snapshot.recover(folder.state)
        emulator = Emulator(free_port(0), root_key(folder.state))
        emulate(folder, emulator)
        try:
            answers(folder, "control-plane", f"{emulator.url}{HEALTH}")
            # A first start that failed has stored an emulator without tables.
            return (rented(emulator, STAGE) if outputs(emulator.client, STACK) else []), ""
        finally:
            daemons.stop(folder.pid("control-plane"), within_s=STOP_S["control-plane"])
    except (InsideError, LocalError, BotoCoreError) as error:
        return [], str(error)


def refusal(left: list[Rented], unknown: str) -> str:
    """Why nothing is erased, and what to do."""
    if unknown:
        return f"not erased: {unknown}\nwhat is rented at providers cannot be told. {FORCE}"
    bought, own = _sorted(left)
    reasons = []
    if bought:
        lines = "".join(f"\n  {each}" for each in bought)
        reasons.append(f"{len(bought)} rented at providers, which nobody would end any more:{lines}")
    if own:
        reasons.append(f"its agent is on servers of yours, and nobody would remove it any more: {own}")
    return f"not erased: {f'{chr(10)}and '.join(reasons)}\n{END_THEM}. {FORCE}"


def farewell(left: list[Rented], unknown: str, *, erased: bool) -> list[str]:
    """What the one who goes should know of what stays."""
    if unknown:
        return [f"what is rented at providers could not be told, and bills if there is anything: {unknown}"]
    bought, own = _sorted(left)
    lines = []
    if bought:
        nobody = "nothing ends them" if erased else "while it is down, nothing ends them"
        lines += [f"{len(bought)} rented at providers, billing on; {nobody}:", *(f"  {each}" for each in bought)]
    if own:
        agent = "its agent stays on" if erased else "its agent waits for it on"
        lines.append(f"{agent} servers of yours: {own}")
    return lines


def _sorted(left: list[Rented]) -> tuple[list[Rented], str]:
    """What is rented, and the names of servers that somebody owns, which bill nobody."""
    own = [each.instance for each in left if each.backend == OWN]
    return [each for each in left if each.backend != OWN], ", ".join(own)
