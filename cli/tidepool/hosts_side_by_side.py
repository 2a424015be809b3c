"""Several hosts at once: a few threads, one result a host as it ends, and an end to all of it on Ctrl-C."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from tidepool.errors import TidepoolError
from tidepool.failure import from_exception
from tidepool.host_results import Result, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tell = Callable[[str], None]
    Work = Callable[[str, Tell], Result]

LOOK_S = 0.2
"""How often the main thread looks up, so that it hears of Ctrl-C where waiting would not be interrupted."""
LAST_WORDS_S = 5.0
"""How long hosts that were interrupted may take to end."""


def side_by_side(
    hosts: Sequence[str],
    work: Work,
    *,
    most: int,
    told: Callable[[str, str], None],
    ended: Callable[[Result], None],
    interrupt: Callable[[], None],
) -> list[Result]:
    """Do `work` on each host, at most `most` at a time. `told` and `ended` are called in the caller's thread.

    On Ctrl-C `interrupt` is called, which has to end what `work` waits for; then `KeyboardInterrupt` goes on.
    """
    waiting: SimpleQueue[str] = SimpleQueue()
    news: SimpleQueue[tuple[str, str | Result]] = SimpleQueue()
    for host in hosts:
        waiting.put(host)
    threads = [Thread(target=_serve, args=(waiting, news, work), daemon=True) for _ in range(min(most, len(hosts)))]
    results: list[Result] = []
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(hosts):
            try:
                host, what = news.get(timeout=LOOK_S)
            except Empty:
                continue
            if isinstance(what, Result):
                results.append(what)
                ended(what)
            else:
                told(host, what)
    except KeyboardInterrupt:
        _drain(waiting)
        interrupt()
        until = monotonic() + LAST_WORDS_S
        for thread in threads:
            thread.join(max(0.0, until - monotonic()))
        raise
    return results


def _serve(waiting: SimpleQueue[str], news: SimpleQueue[tuple[str, str | Result]], work: Work) -> None:
    """Take one host after the other. Whatever goes wrong with one is its own result."""
    while True:
        try:
            host = waiting.get_nowait()
        except Empty:
            return
        try:
            result = work(host, lambda text, host=host: news.put((host, text)))  # type: ignore[misc]
        except TidepoolError as error:
            result = failed(host, error)
        except Exception as error:  # noqa: BLE001 - a defect with one host must not leave the others without an end
            result = failed(host, from_exception(error))
        news.put((host, result))


def _drain(waiting: SimpleQueue[str]) -> None:
    while not waiting.empty():
        waiting.get_nowait()
