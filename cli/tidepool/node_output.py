"""The output of a run: its one stream, or those of its nodes, line by line, each line behind `[rank] `.

That is how torchrun, mpirun and srun label what several processes say. One node alone is shown as it is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tidepool.wire import LogChunk, Run

    Read = Callable[[int, int], tuple[bytes, LogChunk]]

WAITING = frozenset({"submitted", "provisioning"})
"""States of a run in which no node runs."""
LONGEST_LINE = 1 << 16
"""Bytes after which a line is shown although its end has not come."""


class Stream:
    """One node's stream: how far it was read, and the line that is not complete yet."""

    __slots__ = ("_is_line_over", "after", "is_complete", "rank", "rest")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.after = 0
        self.rest = b""
        self.is_complete = False
        self._is_line_over = False

    def labelled(self, data: bytes) -> bytes:
        """The lines so far as a terminal shows them, behind the rank; at the end of the stream also what is left.

        A progress bar overwrites itself by carriage returns: what it shows now is a line as well.
        """
        if self._is_line_over and data.startswith(b"\n"):
            data = data[1:]  # the other half of its end
        self._is_line_over = data.endswith(b"\r") or (self._is_line_over and not data)
        *lines, rest = (self.rest + data).split(b"\n")
        shown = [_last_shown(line) for line in lines]
        before, overwrites, self.rest = rest.rpartition(b"\r")
        if overwrites:
            shown.append(_last_shown(before))
        if len(self.rest) > LONGEST_LINE or (self.is_complete and self.rest):
            shown, self.rest = [*shown, self.rest], b""
        return b"".join(b"[%d] %b\n" % (self.rank, line) for line in shown)


def _last_shown(line: bytes) -> bytes:
    return line.rstrip(b"\r").rpartition(b"\r")[2]


class Output:
    """Reads what is new, with `read(rank, after)`. `node`: the only one to be read; None: all that there are."""

    def __init__(self, read: Read, node: int | None = None) -> None:
        self._read = read
        self._streams = [Stream(node or 0)]
        self._is_one = node is not None
        self.has_advanced = False

    def poll(self) -> tuple[bytes, Run, bool]:
        """Return what is new, the run, and whether it is over and this was the rest. The streams are asked in turn.

        What is new may be nothing while the streams move on (`has_advanced`): a line without its end.
        """
        self.has_advanced = False
        data, chunk = self._next(self._streams[0])
        run = chunk["run"]
        count = 1 if self._is_one else run.get("nodes") or 1
        if count == 1:
            return data, run, chunk["complete"]
        self._streams += [Stream(rank) for rank in range(len(self._streams), count)]
        parts = [self._streams[0].labelled(data)]
        if run["state"] in WAITING:  # one stream tells that; the others have nothing yet, and are asked later
            return parts[0], run, False
        for stream in self._streams[1:]:
            if not stream.is_complete:
                data, chunk = self._next(stream)
                parts.append(stream.labelled(data))
        return b"".join(parts), run, all(stream.is_complete for stream in self._streams)

    def rest(self) -> bytes:
        """The lines whose end has not come."""
        for stream in self._streams:
            stream.is_complete = True
        return b"".join(stream.labelled(b"") for stream in self._streams)

    def _next(self, stream: Stream) -> tuple[bytes, LogChunk]:
        data, chunk = self._read(stream.rank, stream.after)
        self.has_advanced = self.has_advanced or bool(data)
        stream.after, stream.is_complete = chunk["next"], chunk["complete"]
        return data, chunk
