"""Names and ids: what people may call things, and what we call things ourselves."""

import re
from datetime import datetime
from random import Random
from typing import Final

from chalicelib.domain.errors import InvalidInputError

NAME_FORM: Final = "lower-case letters, digits and hyphens, no hyphen at either end, at most 63 characters"
MAX_NAME: Final = 63
"""The length of a DNS label, so that a name can be a host name, a tag and a path segment."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: its digits sort like their values, and none looks like another."""

_ID: Final = re.compile(rf"[a-z]+-[{_DIGITS}]{{18}}")

_ADJECTIVES: Final = (
    "amber", "brave", "breezy", "bright", "calm", "clear", "clever", "coral", "cosy", "crisp", "dapper", "deep",
    "eager", "early", "fair", "fleet", "fresh", "gentle", "glad", "golden", "grand", "hardy", "humble", "jolly",
    "keen", "kind", "lively", "lucky", "lunar", "mellow", "merry", "mild", "misty", "neat", "nimble", "noble",
    "pearly", "placid", "plucky", "polar", "proud", "quick", "quiet", "rapid", "ready", "rosy", "sandy", "sharp",
    "silent", "silver", "sleek", "snug", "solar", "spry", "steady", "still", "sunny", "swift", "tidal", "tidy",
    "vivid", "warm", "wise", "witty",
)  # fmt: skip
_ANIMALS: Final = (
    "anchovy", "barnacle", "beluga", "bittern", "clam", "cockle", "cod", "conch", "coot", "cormorant", "crab", "crane",
    "curlew", "cuttle", "dolphin", "dugong", "dunlin", "eel", "egret", "flounder", "gannet", "goby", "grebe", "gull",
    "haddock", "halibut", "heron", "herring", "krill", "limpet", "lobster", "mackerel", "manatee", "marlin", "mullet",
    "mussel", "narwhal", "newt", "octopus", "orca", "osprey", "otter", "oyster", "pelican", "penguin", "petrel", "pike",
    "plover", "porpoise", "prawn", "puffin", "ray", "salmon", "sandpiper", "seal", "shrimp", "skate", "squid",
    "starfish", "stork", "tern", "trout", "walrus", "whelk",
)  # fmt: skip


def is_name(text: object) -> bool:
    """Tell whether a value can be the name of a project, a pool, an instance or a run."""
    return isinstance(text, str) and len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def require_name(text: object, field: str) -> str:
    """Return a name as it is, or raise `InvalidInputError` for `field`."""
    if isinstance(text, str) and is_name(text):
        return text
    raise InvalidInputError(field, text, NAME_FORM)


def require_own_name(text: object, field: str) -> str:
    """Return the name of something that has an id too, and is found by either: it is not made like an id."""
    name = require_name(text, field)
    if is_id(name):
        raise InvalidInputError(field, text, f"{NAME_FORM}; and not made like an id")
    return name


def new_id(prefix: str, now: datetime, rng: Random) -> str:
    """Make an id like `run-0k3v9q2m1x5r7t8w2a`: `prefix`, ten digits of milliseconds, eight random ones.

    Ids of one prefix sort as text by the moment they were made, until the year 37648. Two of the same millisecond are
    told apart by 40 random bits; a store still refuses to write over an id that exists.
    """
    return f"{prefix}-{_base32(int(now.timestamp() * 1000), 10)}{_base32(rng.getrandbits(40), 8)}"


def is_id(text: str) -> bool:
    """Tell whether a text looks like what `new_id` makes. A name may look so too."""
    return _ID.fullmatch(text) is not None


def pleasant_name(rng: Random) -> str:
    """Make one of 368,640 names for people to say, like `brave-otter-42`. The caller tries again when it is taken."""
    return f"{rng.choice(_ADJECTIVES)}-{rng.choice(_ANIMALS)}-{rng.randrange(10, 100)}"


def _base32(number: int, width: int) -> str:
    return "".join(_DIGITS[number >> shift & 31] for shift in range(5 * (width - 1), -1, -5))
