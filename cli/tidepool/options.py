"""Options that several commands share, and the request they make.

What a value means is the server's to judge, so that there is one grammar; only what cannot be right anywhere is
refused here, before anything is asked.
"""

from __future__ import annotations

from tidepool.command import UsageError
from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.wire import PlanRequest, Policies, Requirements, RunRequest

NAME_LENGTH = 63
REFERENCE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
REFERENCE_LENGTH = 200
RESOURCES = ("cpu", "memory", "gpu", "disk", "shared_memory")


def add_resources(parser: ArgumentParser) -> None:
    """What the machine must have."""
    group = parser.add_argument_group("requirements (see `tidepool help requirements`)")
    group.add_argument("--cpu", metavar="SPEC", help="CPUs: 4, 4..8")
    group.add_argument("--memory", metavar="SIZE", help="main memory: 32GB, 32GB..64GB")
    group.add_argument("--gpu", metavar="SPEC", help="GPUs: 80GB, A100:2, A10G,A100")
    group.add_argument("--disk", metavar="SIZE", help="disk: 200GB")
    group.add_argument("--shared-memory", metavar="SIZE", help="shared memory for containers")
    group.add_argument("--allow-gpu", action="store_true", help="without --gpu: a GPU machine will do too")


def add_filters(parser: ArgumentParser, *, spot_default: str = "") -> None:
    """Which offers and instances may be taken. `spot_default` is told where the reader cannot guess it."""
    default = f" (default {spot_default})" if spot_default else ""
    group = parser.add_argument_group("choice")
    group.add_argument("--max-price", type=_price, metavar="USD", help="most to pay an hour")
    group.add_argument("-b", "--backend", action="append", metavar="NAME", help="only this backend; repeatable")
    group.add_argument("-r", "--region", action="append", metavar="NAME", help="only this region; repeatable")
    group.add_argument("--instance-type", action="append", metavar="NAME", help="only this type; repeatable")
    spot = group.add_mutually_exclusive_group()
    spot.add_argument("--spot", dest="spot_policy", action="store_const", const="spot", help="spot machines only")
    spot.add_argument(
        "--on-demand", dest="spot_policy", action="store_const", const="on-demand", help="no spot machines"
    )
    spot.add_argument("--spot-auto", dest="spot_policy", action="store_const", const="auto", help="either")
    spot.add_argument(
        "--spot-policy", dest="spot_policy", choices=("spot", "on-demand", "auto"), help=f"the same by name{default}"
    )


def add_max_offers(parser: ArgumentParser) -> None:
    """How much of a plan to show."""
    parser.add_argument("--max-offers", type=_count, metavar="N", help="show at most N offers")


def add_lifetime(parser: ArgumentParser, idle: str) -> None:
    """How long an instance stays, and how long to try for one."""
    group = parser.add_argument_group("lifetime")
    group.add_argument("--idle-duration", type=duration, metavar="DURATION",
                       help=f"remove it when idle that long: 5m, 72h, 0s, off (default {idle})")  # fmt: skip
    retry = group.add_mutually_exclusive_group()
    retry.add_argument("--retry", action="store_const", const=True, default=None, help="keep trying without capacity")
    retry.add_argument(
        "--no-retry", dest="retry", action="store_const", const=False, help="give up when all offers fail"
    )
    retry.add_argument("--retry-duration", type=duration, metavar="DURATION", help="keep trying that long")


def add_pool(parser: ArgumentParser) -> None:
    """Which pool is meant."""
    parser.add_argument("--pool", type=name, metavar="NAME", help="the pool (default: the project's default)")


def add_yes(parser: ArgumentParser) -> None:
    """Whether to ask."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def policies(args: Namespace) -> Policies:
    """Make the shared part of a request; what was not said is left to the server's defaults."""
    request: Policies = {}
    wanted: Requirements = {}
    for key in RESOURCES:
        if (value := getattr(args, key, None)) is not None:
            wanted[key] = value  # type: ignore[literal-required]
    if wanted:
        request["requirements"] = wanted
    if getattr(args, "allow_gpu", False):
        request["allow_gpu"] = True
    given = {
        "backends": args.backend,
        "regions": args.region,
        "instance_types": args.instance_type,
        "spot_policy": args.spot_policy,
        "max_price": args.max_price,
        "idle_duration": getattr(args, "idle_duration", None),
        "retry": _retry(args),
    }
    for key, value in given.items():
        if value is not None:
            request[key] = value  # type: ignore[literal-required]
    return request


def plan_request(args: Namespace, *, for_run: bool = False) -> PlanRequest:
    """Make the request for a plan."""
    request: PlanRequest = {}
    if args.pool:
        request["pool"] = args.pool
    if args.max_offers is not None:
        request["max_offers"] = args.max_offers
    if for_run:
        request["for_run"] = True
    return {**policies(args), **request}


def job_part(args: Namespace) -> RunRequest:
    """Make the part of a request that only runs have."""
    request: RunRequest = {"argv": args.job}
    if args.env:
        request["env"] = dict(_setting(text) for text in args.env)
    for key in ("name", "pool", "image", "instance"):
        if value := getattr(args, key):
            request[key] = value
    if args.reuse:
        request["reuse"] = True
    if args.kill_after is not None:
        request["kill_after_s"] = args.kill_after
    return request


def name(text: str) -> str:
    """A name of ours: lower-case letters, digits and inner hyphens. An empty one is none, and no default either."""
    inner = text.isascii() and text == text.lower() and text.replace("-", "").isalnum()
    if not inner or text[0] == "-" or text[-1] == "-" or len(text) > NAME_LENGTH:
        raise _bad(f"{quoted(text)} is no name: lower-case letters, digits and inner hyphens, at most {NAME_LENGTH}")
    return text


def reference(text: str) -> str:
    """A name or an id, as they stand in paths: what has other characters can be neither."""
    if not text or len(text) > REFERENCE_LENGTH or not REFERENCE.issuperset(text):
        raise _bad(f"{quoted(text)} is neither a name nor an id: lower-case letters, digits, '-' and '.'")
    return text


def label(text: str) -> str:
    """Free text that says something."""
    if not text.strip():
        raise _bad(f"{quoted(text)} is no name: it says nothing")
    return text


def duration(text: str) -> str:
    """A duration for the server to read. Raises for what cannot be one in any grammar."""
    if text.lstrip().startswith("-"):
        raise _bad(f"{quoted(text)} is negative; a duration is 45s, 5m, 2h, 3d, or off")
    if not text.strip():
        raise _bad(f"{quoted(text)} is no duration: 45s, 5m, 2h, 3d, off")
    return text


def seconds(text: str) -> float:
    """A duration in seconds, for the fields that are sent as numbers: `10`, `1.5`, `30s`, `5m`, `2h`."""
    if text.lstrip().startswith("-"):
        raise _bad(f"{quoted(text)} is negative; a duration is 45s, 5m, 2h, or seconds")
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    try:
        value = float(number) * (unit or 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise _bad(f"{quoted(text)} is no duration: 45s, 5m, 2h, or seconds")
    return value


def _setting(text: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not key or not mark:
        raise UsageError(f"argument -e/--env: {quoted(text)} is not NAME=VALUE")
    return key, value


def _retry(args: Namespace) -> bool | dict[str, str] | None:
    duration = getattr(args, "retry_duration", None)
    if duration is not None:
        return {"duration": duration}
    retry: bool | None = getattr(args, "retry", None)
    return retry


def _price(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise _bad(f"{quoted(text)} is no price: dollars an hour, above 0")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100):
        raise _bad(f"{quoted(text)} is no count from 1 to 100")
    return int(text)


def _bad(message: str) -> Exception:
    import argparse

    return argparse.ArgumentTypeError(message)
