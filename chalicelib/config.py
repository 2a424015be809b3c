"""Settings: the only reader of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment fixes. Each field is documented in `docs/reference/settings.md`."""

    stage: str
    owner: str
    bucket: str
    provision_arn: str
    teardown_arn: str
    adopt_arn: str
    public_url: str
    local_cloud_url: str
    local_cloud_key: str
    aws_endpoint_url: str
    azure_endpoint_url: str
    sync_every: timedelta
    unreachable_after: timedelta
    lost_after: timedelta
    ready_within: timedelta
    pickup_within: timedelta
    lease_for: timedelta
    host_networks: tuple[str, ...]

    @property
    def pickup_limit(self) -> timedelta:
        """How long a machine may take to pick a job up before it is given up: longer than between two regular syncs."""
        return max(self.pickup_within, 1.5 * self.sync_every)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Durations are whole or fractional seconds."""
    env = os.environ if environ is None else environ

    def seconds(name: str, default: float) -> timedelta:
        return timedelta(seconds=float(env.get(f"TIDEPOOL_{name}_S") or default))

    sync_every = seconds("SYNC", 300)
    stage = env.get("TIDEPOOL_STAGE", "local")
    return Settings(
        stage=stage,
        owner=env.get("TIDEPOOL_OWNER") or f"tidepool-{stage}",
        bucket=env.get("TIDEPOOL_BUCKET", ""),
        provision_arn=env.get("TIDEPOOL_PROVISION_ARN", ""),
        teardown_arn=env.get("TIDEPOOL_TEARDOWN_ARN", ""),
        adopt_arn=env.get("TIDEPOOL_ADOPT_ARN", ""),
        public_url=env.get("TIDEPOOL_PUBLIC_URL", "").rstrip("/"),
        local_cloud_url=env.get("TIDEPOOL_LOCAL_CLOUD_URL", "").rstrip("/"),
        local_cloud_key=env.get("TIDEPOOL_LOCAL_CLOUD_KEY", ""),
        aws_endpoint_url=env.get("TIDEPOOL_AWS_ENDPOINT_URL", "").rstrip("/"),
        azure_endpoint_url=env.get("TIDEPOOL_AZURE_ENDPOINT_URL", "").rstrip("/"),
        sync_every=sync_every,
        unreachable_after=seconds("UNREACHABLE", 2 * sync_every.total_seconds() + 120),
        lost_after=seconds("LOST", 1200),
        ready_within=seconds("READY", 0),
        pickup_within=seconds("PICKUP", 60),
        lease_for=seconds("LEASE", 120),
        host_networks=tuple(env.get("TIDEPOOL_HOST_NETWORKS", "public").replace(",", " ").split()),
    )
