"""Tables fitted into a terminal, that of instances above all: what says least gives way first, and no row wraps."""

from __future__ import annotations

from tidepool.output import GAP
from tidepool.rows import INSTANCE_HEADER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tidepool.output import Output

    Table = list[list[str]]
    Step = Callable[[Table], None]

SIMULATED = " (simulated)"
FOOTER = "~ a simulated price, which nobody bills"


def instance_lines(out: Output, rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of `rows`, as `instance_row` makes them. A pipe gets all of them whole, at any width."""
    if not out.is_terminal:
        return out.table_lines(INSTANCE_HEADER, rows)
    width = out.width()
    header, *rest = fitted(INSTANCE_HEADER, rows, STEPS, width)
    resources, status = header.index("RESOURCES"), header.index("STATUS")
    lines = out.table_lines(header, rest, shrink=(resources, status), status=status)
    price = header.index("PRICE")
    return [*lines, FOOTER[:width]] if any(row[price].startswith("~") for row in rest) else lines


def show_instances(out: Output, rows: Iterable[Sequence[str]]) -> None:
    """Write the table."""
    out.line("\n".join(instance_lines(out, rows)))


def fitted(header: Sequence[str], rows: Iterable[Sequence[str]], steps: Iterable[Step], width: int) -> Table:
    """Header and rows after as many of the steps as they need to fit, all of them where they never do."""
    cells = [list(header), *map(list, rows)]
    for step in steps:
        if _breadth(cells) <= width:
            break
        step(cells)
    return cells


def without(name: str) -> Step:
    """Drop a column."""

    def drop(cells: Table) -> None:
        at = cells[0].index(name)
        for row in cells:
            del row[at]

    return drop


def _without_disk(cells: Table) -> None:
    """Leave the disk out of the resources: it is seldom what a machine is chosen for."""
    at = cells[0].index("RESOURCES")
    for row in cells:
        if row[at].endswith(" (disk)"):
            row[at] = row[at].rpartition(", ")[0]


def _fold_simulated(cells: Table) -> None:
    """Say once, below the table, what `(simulated)` says in each row."""
    at = cells[0].index("PRICE")
    for row in cells:
        if row[at].endswith(SIMULATED):
            row[at] = "~" + row[at].removesuffix(SIMULATED)


def _breadth(cells: Table) -> int:
    return sum(max(map(len, column)) for column in zip(*cells, strict=True)) + len(GAP) * (len(cells[0]) - 1)


STEPS: tuple[Step, ...] = (
    without("CREATED"),
    _without_disk,
    _fold_simulated,
    without("SPOT"),
    without("IDLE FOR"),
    without("REGION"),
    without("BACKEND"),
    without("EXPIRES IN"),
)
"""In this order, as far as needed; then the resources are cut short, and the status last."""
