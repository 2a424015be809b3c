"""NVIDIA drivers and the GPUs they show, as `nvidia-smi` and `lspci` of a host tell of them.

Names and memory sizes are those that nvidia-smi prints; PCI names and ids are those of the PCI ID database.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """One model: what nvidia-smi calls it, its memory as nvidia-smi reports it, and its PCI device."""

    name: str
    memory_mib: int
    compute: str
    pci_name: str
    pci_id: str


H100 = Gpu("NVIDIA H100 80GB HBM3", 81559, "9.0", "GH100 [H100 SXM5 80GB]", "2330")
A100 = Gpu("NVIDIA A100-SXM4-40GB", 40960, "8.0", "GA100 [A100 SXM4 40GB]", "20b0")
T4 = Gpu("Tesla T4", 15360, "7.5", "TU104GL [Tesla T4]", "1eb8")
L40S = Gpu("NVIDIA L40S", 46068, "8.9", "AD102GL [L40S]", "26b9")
A10G = Gpu("NVIDIA A10G", 23028, "8.6", "GA102GL [A10G]", "2237")
V100 = Gpu("Tesla V100-SXM2-16GB", 16384, "7.0", "GV100GL [Tesla V100 SXM2 16GB]", "1db1")


@dataclass(frozen=True)
class Driver:
    """GPUs in a machine and the state of their driver.

    `trouble`: the text that nvidia-smi prints instead of GPUs, with `exit_code`. `has_smi`: False for GPUs on the PCI
    bus without a driver. `mig`: whether the GPUs are cut into instances.
    """

    gpus: tuple[Gpu, ...]
    version: str = "550.54.15"
    cuda: str = "12.4"
    trouble: str = ""
    exit_code: int = 0
    has_smi: bool = True
    mig: bool = False

    @property
    def file(self) -> str:
        """What /proc/driver/nvidia/version says; nothing where no module is loaded."""
        if not self.has_smi or "couldn't communicate" in self.trouble:
            return ""
        line = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {self.version}  Thu Feb 22 01:44:30 UTC 2024"
        return f"{line}\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


EIGHT_H100 = Driver((H100,) * 8)
MIXED = Driver((A100, T4), "535.161.08", "12.2")
ONE_L40S = Driver((L40S,), "550.90.07", "12.4")
OLD_CUDA = Driver((V100,), "450.248.02", "11.0")
CUDA_11_8 = Driver((A10G,), "520.61.05", "11.8")
CUT_BY_MIG = Driver((A100,), mig=True)
NO_DEVICES = Driver((H100,), trouble="No devices were found", exit_code=6)
MISMATCH = Driver(
    (H100,),
    trouble="Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54",
    exit_code=18,
)
NO_DRIVER = Driver(
    (T4,),
    trouble="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
    "NVIDIA driver is installed and running.\n",
    exit_code=9,
)
GPU_LOST = Driver(
    (H100,) * 8,
    trouble="Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error",
    exit_code=255,
)
NOT_INSTALLED = Driver((T4,), has_smi=False)
