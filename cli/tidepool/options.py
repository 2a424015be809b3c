"""Options that several commands share, and the request they make.

What a value means is the server's to judge, so that there is one grammar; only what cannot be right anywhere is
refused here, before anything is asked.
"""

from __future__ import annotations

from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, _ArgumentGroup

SPOT_POLICIES = ("spot", "on-demand", "auto")
RETRY_EVENTS = ("no-capacity", "interruption", "error")
NAME_LENGTH = 63
VARIABLE_LENGTH = 128
HIGHEST_PRICE = 1_000_000
"""USD an hour: what costs more is a slip."""
REFERENCE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
REFERENCE_LENGTH = 200


def add_resources(parser: ArgumentParser) -> None:
    """What the machine must have."""
    group = parser.add_argument_group("requirements (see `tidepool help requirements`)")
    group.add_argument("--cpu", metavar="SPEC", help="CPUs: 4, 4..8")
    group.add_argument("--memory", metavar="SIZE", help="main memory: 32GB, 32GB..64GB")
    group.add_argument("--gpu", metavar="SPEC", help="GPUs: 80GB, A100:2, A10G,A100")
    group.add_argument("--disk", metavar="SIZE", help="disk: 200GB")
    group.add_argument("--shared-memory", metavar="SIZE", help="shared memory for containers")
    _add_switch(group, "--allow-gpu", "without --gpu: a GPU machine will do too")


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
    spot.add_argument("--spot-policy", dest="spot_policy", choices=SPOT_POLICIES, help=f"the same by name{default}")


def add_max_offers(parser: ArgumentParser) -> None:
    """How much of a plan to show."""
    parser.add_argument("--max-offers", type=_count, metavar="N", help="show at most N offers")


def add_lifetime(parser: ArgumentParser, idle: str) -> None:
    """How long an instance stays, and how long to try for one."""
    group = parser.add_argument_group("lifetime")
    group.add_argument("--idle-duration", type=duration, metavar="DURATION",
                       help=f"remove it when idle that long: 5m, 72h, 0s, off (default {idle})")  # fmt: skip
    retry = group.add_mutually_exclusive_group()
    retry.add_argument("--retry", action="store_const", const=True, default=None, help="try again when it fails")
    retry.add_argument(
        "--no-retry", dest="retry", action="store_const", const=False, help="give up when all offers fail"
    )
    group.add_argument("--retry-duration", type=duration, metavar="DURATION", help="try again for that long")
    group.add_argument("--retry-on", action="append", choices=RETRY_EVENTS, metavar="EVENT",
                       help=f"try again after this: {', '.join(RETRY_EVENTS)}; repeatable")  # fmt: skip


def add_run_policies(parser: ArgumentParser) -> None:
    """What only a run has of the table of keys."""
    _add_switch(parser, "--reuse", "never provision: an idle instance or none (exit code 6)")
    parser.add_argument("--instance", type=name, metavar="NAME", help="only this instance")
    parser.add_argument(
        "--max-duration",
        type=duration,
        metavar="DURATION",
        help="stop it after that long: 90m, 6h, off; exit code 130 if the job ends with 0 then, else its own",
    )


def add_files(parser: ArgumentParser, run_file: str) -> None:
    """Where values come from that no option says. `run_file` tells when one is read."""
    group = parser.add_argument_group("files (see `tidepool help profiles` and `tidepool help run-file`)")
    group.add_argument("--profile", type=label, metavar="NAME", help="this profile (else the one that is the default)")
    group.add_argument("-f", "--file", type=label, metavar="FILE", help=f"this run file (default: {run_file})")
    group.add_argument(
        "--explain", action="store_true", help="show each value and who says it, and the plan; change nothing"
    )


def _add_switch(group: ArgumentParser | _ArgumentGroup, option: str, text: str) -> None:
    """A switch that a file may turn on, and the option turn off again."""
    dest = option.removeprefix("--").replace("-", "_")
    group.add_argument(option, dest=dest, action="store_const", const=True, default=None, help=text)
    off = f"--no-{option.removeprefix('--')}"
    group.add_argument(off, dest=dest, action="store_const", const=False, help=f"what {option} says does not hold")


POOL_HELP = "the pool (default: the project's default)"


def add_pool(parser: ArgumentParser, text: str = POOL_HELP) -> None:
    """Which pool is meant."""
    parser.add_argument("--pool", type=name, metavar="NAME", help=text)


def add_yes(parser: ArgumentParser) -> None:
    """Whether to ask."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


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


def nodes(text: str) -> int:
    """How many nodes: a whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise _bad(f"{quoted(text)} is no number of nodes: a whole number of at least 1")
    return int(text)


def rank(text: str) -> int:
    """The rank of a node: a whole number from 0."""
    if not (text.isascii() and text.isdigit()):
        raise _bad(f"{quoted(text)} is no rank of a node: a whole number from 0")
    return int(text)


def seconds(text: str) -> float:
    """A duration in seconds, for the fields that are sent as numbers: `10`, `1.5`, `30s`, `5m`, `2h`."""
    if text.lstrip().startswith("-"):
        raise _bad(f"{quoted(text)} is negative; a duration is 45s, 5m, 2h, or seconds")
    value = seconds_of(text)
    if value is None:
        raise _bad(f"{quoted(text)} is no duration: 45s, 5m, 2h, or seconds")
    return value


def seconds_of(text: str) -> float | None:
    """The seconds that a duration says, or None when it is none."""
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    try:
        value = float(number) * (unit or 1)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def price_of(text: str) -> float | None:
    """The dollars that a price says, or None when it is none: `2.5`, `$2.50`."""
    try:
        value = float(text.strip().removeprefix("$"))
    except ValueError:
        return None
    return value if 0 < value < HIGHEST_PRICE else None


def is_variable(text: str) -> bool:
    """Whether this can be the name of a variable of the environment."""
    return text.isascii() and text.isidentifier() and len(text) <= VARIABLE_LENGTH


def _price(text: str) -> float:
    value = price_of(text)
    if value is None:
        raise _bad(f"{quoted(text)} is no price: dollars an hour, above 0 and below {HIGHEST_PRICE}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100):
        raise _bad(f"{quoted(text)} is no count from 1 to 100")
    return int(text)


def _bad(message: str) -> Exception:
    import argparse

    return argparse.ArgumentTypeError(message)
