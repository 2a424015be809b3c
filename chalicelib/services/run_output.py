"""A run's output: one stream of bytes, whatever number of tries it took. Agents count from 0 at each try."""

from chalicelib.domain.model import Run
from chalicelib.services.deps import Deps


def prefix(run: Run) -> str:
    """Where the output of a run is stored."""
    return f"logs/{run.project}/{run.run_id}"


def keep(deps: Deps, run: Run, offset: int, data: bytes) -> None:
    """Store bytes of the present try's output from its own `offset` on."""
    deps.objects.append(prefix(run), run.tries.log_base + offset, data)


def close(deps: Deps, run: Run, why: str) -> int:
    """Write a line about the end of the present try behind its output; return where the next try's begins.

    What is stored is asked for, because the machine may have ended before its last bytes were. Doing it again, after a
    crash, writes the line again.
    """
    end = deps.objects.end(prefix(run), run.tries.log_base)
    broken = end > 0 and deps.objects.read(prefix(run), end - 1, 1) != b"\n"
    line = f"{chr(10) if broken else ''}tidepool: {why}\n".encode()
    deps.objects.append(prefix(run), end, line)
    return end + len(line)
