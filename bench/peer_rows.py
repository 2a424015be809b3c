"""Instances in the peer's database: as many rows as asked for, of the kind that its background loop passes over."""

import json
import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchError

REGIONS: Final = ("westus2", "westus3", "eastus", "westeurope")
BUSY_S: Final = 60


def fill(database: Path, count: int) -> None:
    """Replace all instances of the default pool by `count` quiet ones."""
    now = datetime.now(UTC).replace(tzinfo=None)
    connection = sqlite3.connect(database, timeout=BUSY_S)
    try:
        found = connection.execute("select id, default_pool_id from projects where name = 'main'").fetchone()
        if found is None or found[1] is None:
            raise BenchError("skipped: the peer's project has no pool")
        project, pool = found
        rows = [_row(number, project, pool, now) for number in range(count)]
        connection.execute("delete from instances")
        if rows:
            marks = ", ".join("?" for _ in rows[0])
            columns = ", ".join(rows[0])
            connection.executemany(
                f"insert into instances ({columns}) values ({marks})", [tuple(row.values()) for row in rows]
            )
        connection.commit()
    finally:
        connection.close()


def _row(number: int, project: str, pool: str, now: datetime) -> dict[str, Any]:
    gpu = {"name": "A100", "memory_mib": 81_920, "vendor": "nvidia"}
    resources = {
        "cpus": 24,
        "memory_mib": 225_280,
        "gpus": [gpu],
        "spot": False,
        "disk": {"size_mib": 102_400},
        "description": "",
    }
    kind = {"name": "Standard_NC24ads_A100_v4", "resources": resources}
    region = REGIONS[number % len(REGIONS)]
    offer = {
        "backend": "azure",
        "instance": kind,
        "region": region,
        "price": 3.673,
        "availability": "available",
        "instance_runtime": "shim",
    }
    provisioned = {
        "backend": "azure",
        "instance_type": kind,
        "instance_id": f"vm-{number:06d}",
        "hostname": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "internal_ip": None,
        "public_ip_enabled": True,
        "instance_network": None,
        "region": region,
        "availability_zone": None,
        "price": 3.673,
        "username": "ubuntu",
        "ssh_port": 22,
        "dockerized": False,
        "ssh_proxy": None,
        "backend_data": None,
    }
    created = (now - timedelta(seconds=60 + number)).isoformat(" ")
    return {
        "id": uuid.uuid4().hex,
        "name": f"inst-{number:06d}",
        "created_at": created,
        "deleted": 0,
        "project_id": project,
        "pool_id": pool,
        "status": "TERMINATED",
        "started_at": created,
        "termination_policy": "destroy-after-idle",
        "termination_idle_time": 300,
        "backend": "AZURE",
        "region": region,
        "price": 3.673,
        "job_provisioning_data": json.dumps(provisioned),
        "offer": json.dumps(offer),
        "last_job_processed_at": created,
        "unreachable": 0,
        "instance_num": 0,
    }
