"""The GPUs of virtual machine sizes. Azure's own data say how many there are, not which, nor with how much memory.

Source: the pages of the NC, ND and NV families in Azure's documentation of virtual machine sizes.
"""

import re
from typing import Final

from chalicelib.domain.model import Gpu

GIB: Final = 1024

SERIES: Final = (
    (r"NC(?P<cpus>\d+)ads_A100_v4", "A100", 80, {"24": 1, "48": 2, "96": 4}),
    (r"ND(?P<cpus>\d+)asr_v4", "A100", 40, {"96": 8}),
    (r"ND(?P<cpus>\d+)amsr_A100_v4", "A100", 80, {"96": 8}),
    (r"NC(?P<cpus>\d+)adi?s_H100_v5", "H100NVL", 94, {"40": 1, "80": 2}),
    (r"NCC(?P<cpus>\d+)ads_H100_v5", "H100NVL", 94, {"40": 1}),
    (r"ND(?P<cpus>\d+)isrf?_H100_v5", "H100", 80, {"96": 8}),
    (r"ND(?P<cpus>\d+)isr_H200_v5", "H200", 141, {"96": 8}),
    (r"NC(?P<cpus>\d+)as_T4_v3", "T4", 16, {"4": 1, "8": 1, "16": 1, "64": 4}),
    (r"NC(?P<cpus>\d+)s_v3", "V100", 16, {"6": 1, "12": 2, "24": 4}),
    (r"NC(?P<cpus>\d+)rs_v3", "V100", 16, {"24": 4}),
    (r"ND(?P<cpus>\d+)rs_v2", "V100", 32, {"40": 8}),
    (r"NV(?P<cpus>\d+)adm?s_A10_v5", "A10", 24, {"36": 1, "72": 2}),
    (r"NV(?P<cpus>\d+)ads_A10_v5", "A10", 12, {"18": 1}),
    (r"NV(?P<cpus>\d+)ads_A10_v5", "A10", 8, {"12": 1}),
    (r"NV(?P<cpus>\d+)ads_A10_v5", "A10", 4, {"6": 1}),
)
"""Size, model, nominal GiB of one GPU, and the number of GPUs by the size's CPUs. The smaller NVads A10 v5 have a part
of one A10 each: a third is one GPU with 8 GB."""

VIRTUAL_GPU: Final = re.compile(r"Standard_NV\d+adm?s_A10_v5")
"""Sizes whose GPU is handed out by a hypervisor: they work with NVIDIA's GRID driver alone, which no image of the
marketplace that needs no contract has."""


def gpus(size: str) -> tuple[Gpu, ...]:
    """The GPUs of a size, or none when it is none of the sizes that are known to have some."""
    for pattern, name, memory_gib, counts in SERIES:
        match = re.fullmatch("Standard_" + pattern, size, re.I)
        if match and match["cpus"] in counts:
            return (Gpu(name, memory_gib * GIB, counts[match["cpus"]]),)
    return ()


def needs_own_image(size: str) -> bool:
    """Whether the GPU of a size does nothing under the image that the driver chooses."""
    return VIRTUAL_GPU.fullmatch(size) is not None
