"""Which image a machine boots: AWS's image with the NVIDIA driver for GPUs, Canonical's Ubuntu for everything else.

Both publish the id of their newest image as a public SSM parameter in each region. An id is kept for an hour, so that
an image that is withdrawn is not asked for much longer.
"""

import time
from collections.abc import Mapping
from threading import Lock
from typing import Final

from chalicelib.backends.aws.clients import Clients, raised
from chalicelib.backends.aws.request import Image, architecture
from chalicelib.domain.errors import InvalidRequestError
from chalicelib.domain.model import Offer

GPU_PARAMETERS: Final = (
    "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
    "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
)
"""Ubuntu with driver, Docker and NVIDIA's container toolkit, for GPUs from Turing (T4) on. Source: "AWS Deep Learning
Base OSS Nvidia Driver GPU AMI" in the release notes of AWS's images. The first that a region has is taken."""

CPU_PARAMETERS: Final = (
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/{arch}/hvm/ebs-gp2/ami-id",
)
"""Source: "Finding Ubuntu images with the AWS SSM Parameter Store" by Canonical, which says `amd64` for x86_64."""

KEEP_S: Final = 3600.0


class Images:
    """The images of one account by region and purpose. `overrides` has those that the account's owner chose."""

    def __init__(self, clients: Clients, overrides: Mapping[str, str]) -> None:
        self._clients = clients
        self._overrides = overrides
        self._guard = Lock()
        self._known: dict[tuple[str, str, bool], tuple[float, Image]] = {}

    def of(self, offer: Offer) -> Image:
        """The image for one offer. Raises `InvalidRequestError` where there is none."""
        return self.image(offer.region, architecture(offer.instance_type), gpu=bool(offer.resources.gpus))

    def image(self, region: str, arch: str, *, gpu: bool) -> Image:
        """The image of one region for machines with or without GPUs."""
        key = (region, arch, gpu)
        with self._guard:
            found_at, image = self._known.get(key, (0.0, None))
        if image is not None and time.monotonic() - found_at < KEEP_S:
            return image
        image = self._described(region, self._overrides.get(region) or self._newest(region, arch, gpu=gpu))
        with self._guard:
            self._known[key] = (time.monotonic(), image)
        return image

    def forget(self, region: str) -> None:
        """Look up the images of a region anew: one of them is not there any more."""
        with self._guard:
            self._known = {key: known for key, known in self._known.items() if key[0] != region}

    def _newest(self, region: str, arch: str, *, gpu: bool) -> str:
        words = arch if gpu or arch == "arm64" else "amd64"
        names = [name.format(arch=words) for name in (GPU_PARAMETERS if gpu else CPU_PARAMETERS)]
        with raised():
            rows = self._clients.of("ssm", region).get_parameters(Names=names)["Parameters"]
            values = {row["Name"]: row["Value"] for row in rows}
        found = next((values[name] for name in names if name in values), None)
        if found is None:
            raise InvalidRequestError(f"aws: {region} has no public image {' or '.join(names)}")
        return str(found)

    def _described(self, region: str, image_id: str) -> Image:
        """Find the volumes of an image. One that is not there is said so under its id."""
        with raised():
            rows = self._clients.of("ec2", region).describe_images(ImageIds=[image_id])["Images"]
            if not rows:
                raise InvalidRequestError(f"aws: {region} has no image {image_id}")
            volumes = {
                each["DeviceName"]: each["Ebs"].get("VolumeSize", 1)
                for each in rows[0].get("BlockDeviceMappings", ())
                if "Ebs" in each
            }
            root = rows[0]["RootDeviceName"]
        return Image(image_id, root, {root: 1, **volumes})
