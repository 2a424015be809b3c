"""What is known of GPU models: their spelling, nominal memory, vendor and compute capability.

Providers and drivers spell one model in many ways (`NVIDIA A100-SXM4-80GB`, `a100`, `RTX 4090`) and report less
memory than is sold. Everything that compares GPUs compares what this module makes of them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

VENDORS: Final = ("nvidia", "amd", "intel", "google", "tenstorrent")

NOMINAL_GIB: Final = (
    1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180, 186, 192, 256, 288,
)  # fmt: skip
"""Memory sizes that GPUs, and the slices of GPUs, are sold with."""

NOMINAL_SHARE: Final = 0.91
"""The least share of its nominal memory that a GPU reports. Error correction and firmware take the rest: a T4 with
15,109 MiB (92.2 % of 16 GB) is the worst seen, an A10G shows 22,731 MiB (92.5 % of 24 GB), an H100 81,559 (99.6 %)."""

COMPUTE_CAPABILITY: Final[Mapping[str, tuple[int, int]]] = {
    "b300": (10, 3), "gb300": (10, 3), "b200": (10, 0), "gb200": (10, 0), "rtxpro6000": (12, 0),
    "h200": (9, 0), "h100": (9, 0), "h100nvl": (9, 0), "gh200": (9, 0),
    "l4": (8, 9), "l40": (8, 9), "l40s": (8, 9),
    "rtx6000ada": (8, 9), "rtx5000ada": (8, 9), "rtx4000ada": (8, 9), "rtx2000ada": (8, 9),
    "a2": (8, 6), "a10": (8, 6), "a10g": (8, 6), "a16": (8, 6), "a40": (8, 6),
    "a2000": (8, 6), "a4000": (8, 6), "a4500": (8, 6), "a5000": (8, 6), "a6000": (8, 6),
    "a30": (8, 0), "a100": (8, 0),
    "t4": (7, 5), "t4g": (7, 5), "rtx6000": (7, 5), "rtx8000": (7, 5), "v100": (7, 0), "titanv": (7, 0),
    "p4": (6, 1), "p40": (6, 1), "p100": (6, 0), "m60": (5, 2), "m40": (5, 2), "k80": (3, 7),
}  # fmt: skip
"""By `key`. Source, also of `FAMILIES`: NVIDIA's lists of CUDA GPUs and of legacy CUDA GPUs."""

FAMILIES: Final[Mapping[str, tuple[int, int]]] = {
    "rtx50": (12, 0), "rtx40": (8, 9), "rtx30": (8, 6), "rtx20": (7, 5), "gtx16": (7, 5), "gtx10": (6, 1),
}  # fmt: skip
"""GeForce cards by series: one series has one compute capability."""

LONGEST_NAME: Final = 80
"""Characters of a model's name. NVML has at most 96 bytes for one, and the longest in use has about 60."""

_GEFORCE: Final = re.compile(r"([rg]tx[1-5][06])[0-9]0(?:ti)?(?:super)?")
_NOISE: Final = re.compile(
    r"nvidia|amd|intel|google|tesla|geforce|instinct|quadro"
    r"|sxm[0-9]?|pcie|hbm[0-9]?e?|[0-9]+gb|generation|blackwell|(?:server|workstation)|edition"
)
"""Words of a model's full name that do not tell it from another model that is sold for computing."""

_GLUED: Final = re.compile(r"(?<=[0-9])(?:sxm[0-9]?|pcie)$", re.IGNORECASE)
_PREFIXED: Final = re.compile(r"rtxa[0-9]{4}", re.IGNORECASE)


@lru_cache(maxsize=1024)
def key(name: str) -> str:
    """Reduce the spellings of one model to one text: `NVIDIA A100-SXM4-80GB`, `A100 PCIe` and `A100` are `a100`.

    Professional cards lose their `RTX`, which half of the providers write: `RTX A6000` is `a6000`.
    """
    return sold_as(name).casefold()


def sold_as(name: str) -> str:
    """Shorten what a driver calls a model to the name it is sold by: `NVIDIA RTX 6000 Ada Generation`: `RTX6000Ada`.

    A host may print what it likes: what is no printable character, and what is longer than any name, is left out.
    """
    printable = "".join(each if each.isprintable() else " " for each in name[:LONGEST_NAME])
    words = re.split(r"[\s_-]+", printable.strip())
    telling = [word for word in words if not _NOISE.fullmatch(word.casefold())]
    text = _GLUED.sub("", "".join(telling or words))
    return text[3:] if _PREFIXED.fullmatch(text) else text


def nominal_mib(reported_mib: int) -> int:
    """Return the size a GPU is sold with, given what it reports, or what it reports where no such size is known."""
    for gib in NOMINAL_GIB:
        if reported_mib <= gib * 1024:
            return gib * 1024 if reported_mib >= gib * 1024 * NOMINAL_SHARE else reported_mib
    return reported_mib


def compute_capability(name: str) -> tuple[int, int] | None:
    """Look up the CUDA compute capability of a model; None where it has none or is not known."""
    model = key(name)
    if family := _GEFORCE.fullmatch(model):
        return FAMILIES.get(family[1])
    return COMPUTE_CAPABILITY.get(model)
