"""What the emulator's state survives: a kill at any moment, that of storing included.

The emulator writes objects (`s3/`) as they come, and everything else (`services/`) at a graceful stop, file by file.
Two moments would therefore leave halves that do not fit together: before the first stop there are buckets without the
stack that owns them, and a kill in the middle of a stop leaves some services new and others old.
"""

import os
import shutil
from pathlib import Path
from typing import Final

SERVICES: Final = "services"
BEFORE: Final = "services.before"
"""What was stored last, while something newer is being stored."""


def storing(state: Path) -> None:
    """Keep what was stored last aside, as links: the emulator replaces files and never edits them."""
    draft = state / f"{BEFORE}.new"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(state / SERVICES, draft, copy_function=os.link)
    shutil.rmtree(state / BEFORE, ignore_errors=True)
    draft.rename(state / BEFORE)


def stored(state: Path) -> None:
    """All of it is written: what was before is not needed any more."""
    shutil.rmtree(state / BEFORE, ignore_errors=True)


def recover(state: Path) -> bool:
    """Make a state folder one that the emulator can start from; False when all that it knew is lost.

    Call it while no emulator runs. A stop that was cut short counts as not made. Where nothing was ever stored, what
    is left over from the first start is removed.
    """
    if (state / BEFORE).is_dir():
        shutil.rmtree(state / SERVICES, ignore_errors=True)
        (state / BEFORE).rename(state / SERVICES)
    if is_stored(state):
        return True
    # The root key is made before the emulator is started for the first time: without it there was nothing to lose.
    was_started = (state / "root-key").exists()
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700, parents=True)
    return not was_started


def is_stored(state: Path) -> bool:
    """Whether the emulator has ever stored anything here."""
    return any((state / SERVICES).glob("*.json"))
