"""A run's output: one stream of bytes with gaps, a part for each try's output and one for the line about its end.

Whoever reads follows the offsets that it is answered. Each part has bytes of its own, so nothing that comes late, from
an agent or from a worker that read the run before its try was ended, can lie on what comes after it or move it.
"""

from typing import Final

from chalicelib import log
from chalicelib.domain.model import Run
from chalicelib.services.deps import Deps

PART: Final = 10**11
"""Bytes of the stream that a part may have. The API counts to 2**53: enough for 45,000 tries."""


def prefix(run: Run, rank: int | None = None) -> str:
    """Where the output of a run, or of one of its nodes, is stored."""
    return f"logs/{run.project}/{run.run_id}" + ("" if rank is None else f"-node-{rank}")


def keep(deps: Deps, run: Run, offset: int, data: bytes, *, rank: int | None = None) -> None:
    """Store bytes of the present try's output from its own `offset` on, as agents count: from 0 at each try."""
    if offset + len(data) > PART:
        log.event("output-too-long", run=run.run_id, offset=offset)
        return
    deps.objects.append(prefix(run, rank), _begin(run) + offset, data)


def close(deps: Deps, run: Run, why: str) -> None:
    """Write a line about the end of the present try; the next try's output follows it. A line that is there stays.

    Nobody reads it before the run's row says that there is a next try.
    """
    begin = _begin(run)
    for where in [prefix(run, job.rank) for job in run.jobs] or [prefix(run)]:
        end = deps.objects.end(where, begin)
        broken = end > begin and deps.objects.read(where, end - 1, 1) != b"\n"
        line = f"{chr(10) if broken else ''}tidepool: {why}\n".encode()
        deps.objects.append(where, begin + PART, line, grows=False)


def read(deps: Deps, run: Run, after: int, limit: int, *, rank: int | None = None) -> tuple[int, bytes]:
    """Read up to `limit` bytes from `after` on, all of one part; return also where in the stream they begin.

    A part that will grow no more ends at its last byte, or at a gap: then the next that holds anything is read.
    """
    where = prefix(run, rank)
    data = deps.objects.read(where, after, limit)
    following = (after // PART + 1) * PART
    if data or following > _begin(run):
        return after, data
    begins = deps.objects.begins(where, following)
    if begins is None or begins >= _begin(run) + PART:
        begins = _begin(run)
    return begins, deps.objects.read(where, begins, limit)


def _begin(run: Run) -> int:
    """Where the output of the present try begins."""
    return 2 * PART * (run.tries.number - 1)
