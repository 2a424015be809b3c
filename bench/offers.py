"""Finding what fits among very many offers, and getting a catalog ready. Goals 14, 15 and 16."""

import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench import market
from bench.install import installed
from bench.processes import COMMAND_LIMIT_S, ROOT, BenchError, Command, part
from bench.records import Goal, Record, record
from bench.session import Effort, Session

OFFERS: Final = 10_000
MANY: Final = 100_000
PEER: Final = "gpuhunt"
VERSION: Final = "0.1.34"
HOME: Final = ROOT / ".tidepool" / PEER
COLUMNS: Final = (
    "instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot", "disk_size",
    "gpu_vendor", "flags", "cpu_arch", "provider_data",
)  # fmt: skip
TODAY: Final = "13 to 20 ms (gpuhunt 0.1.34), 190 to 237 ms (0.0.19, dstack 0.18.11's)"


def matching(session: Session) -> Iterator[Record]:
    """The four requests, each in turn; the goals are for the slowest of them."""
    first = {OFFERS: Goal(0.5, "at most 0.5 ms"), MANY: Goal(2, "at most 2 ms")}
    for count in (OFFERS,) if session.effort is Effort.ONCE else (OFFERS, MANY):
        measured = part("bench.offers_part", "matching", count, session.rounds(60))
        name = f"offers, first 10 of {count:,}, slowest request"
        yield record(name, _slowest(measured["first"]), "ms", first[count], TODAY if count == OFFERS else "")
        goal = Goal(4, "at most 4 ms") if count == OFFERS else None
        name = f"offers, all matches of {count:,}, slowest request"
        yield record(name, _slowest(measured["all"]), "ms", goal, TODAY if count == OFFERS else "")
        yield record(f"{name}, none made before", _slowest(measured["anew"]), "ms")
        yield record(f"offers, number of matches of {count:,}, slowest request", _slowest(measured["count"]), "ms")


def ready(session: Session) -> Iterator[Record]:
    """A catalog from its packed bytes to the first answer, each time in a fresh process."""
    looked = [part("bench.offers_part", "ready", OFFERS) for _ in range(session.rounds(20))]
    goal = Goal(25, "at most 25 ms")
    anchor = "text parsed for each request, 190 ms (gpuhunt 0.0.19)"
    yield record(f"catalog of {OFFERS:,} ready", [each["ms"] for each in looked], "ms", goal, anchor)
    yield record(f"catalog of {OFFERS:,} packed", [looked[0]["bytes"]], "bytes")


def peer(session: Session) -> Iterator[Record]:
    """The same requests asked of gpuhunt's own matcher, over the same offers, on the same machine."""
    session.say(f"installing {PEER} {VERSION} (once)")
    python = installed(HOME, f"{PEER}=={VERSION}", "python")
    folder = session.scratch / "catalogs"
    folder.mkdir()
    _write(folder)
    rounds = session.rounds(20)
    ours = part("bench.offers_part", "matching", OFFERS, rounds)
    theirs = _asked(python, folder, rounds)
    if theirs["found"] != list(ours["found"].values()):
        raise BenchError(f"{PEER} finds {theirs['found']} offers, we {list(ours['found'].values())}")
    for what, goal in (("first", Goal(1 / 25, "at most 1/25 of the peer")), ("all", None)):
        ratios = [
            ours_ms / theirs_ms for ours_ms, theirs_ms in zip(_slowest(ours[what]), theirs["parsed"], strict=True)
        ]
        anchor = f"{_median(theirs['parsed']):.1f} ms ({PEER} {VERSION}, parsed before, measured here)"
        name = f"offers, {'first 10' if what == 'first' else 'all matches'} of {OFFERS:,}: part of the peer's time"
        yield record(name, ratios, "x", goal, anchor)
    yield record(f"{PEER}, from its files each time, slowest request", theirs["files"], "ms")


def _slowest(by_request: dict[str, list[float]]) -> list[float]:
    """Of each round the slowest request."""
    return [max(samples) for samples in zip(*by_request.values(), strict=True)]


def _write(folder: Path) -> None:
    """The offers as the peer's files, one a provider."""
    for provider in market.PROVIDERS:
        with (folder / f"{provider}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for offer in market.offers(OFFERS):
                if offer.backend == provider:
                    has = offer.resources
                    gpu = [(each.count, each.name, each.memory_mib / 1024) for each in has.gpus] or [(0, "", "")]
                    row = (offer.instance_type, offer.region, offer.price / 1e6, has.cpus, has.memory_mib / 1024)
                    rows.writerow(
                        (*row, *gpu[0], offer.spot, has.disk_mib / 1024, "nvidia" if has.gpus else "", "", "", "")
                    )


def _asked(python: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Let the peer's own interpreter answer the requests."""
    filters = [query for _, query in market.REQUESTS.values()]
    given = json.dumps({"providers": market.PROVIDERS, "queries": filters, "rounds": rounds})
    script = Path(__file__).with_name("offers_peer.py")
    command = Command([str(python), str(script)], {"GPUHUNT_CATALOG_DIR": str(folder)}, HOME)
    done = subprocess.run(
        command.argv,
        env=command.environ(),
        cwd=command.cwd,
        input=given,
        capture_output=True,
        text=True,
        timeout=5 * COMMAND_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{PEER} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _median(samples: list[float]) -> float:
    return sorted(samples)[len(samples) // 2]
