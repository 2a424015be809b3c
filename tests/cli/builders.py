"""The API's nouns, built so that what matters stands in the line that matters."""

from typing import Any

NOW = 1_767_225_600.0
NOW_TEXT = "2026-01-01T00:00:00.000Z"
NO_OFFER: dict[str, Any] = dict.fromkeys(
    ("backend", "region", "zone", "instance_type", "resources", "spot", "price_micros", "price_source")
)


def make_resources(**changes: Any) -> dict[str, Any]:
    gpus = [{"name": "A100", "memory_mib": 81_920, "count": 1, "vendor": "nvidia"}]
    return {"cpus": 24, "memory_mib": 225_280, "disk_mib": 102_400, "gpus": gpus, **changes}


def make_offer(**changes: Any) -> dict[str, Any]:
    return {
        "backend": "local",
        "region": "shore-1",
        "zone": "",
        "instance_type": "tide.a100",
        "resources": make_resources(),
        "spot": False,
        "price_micros": 3_670_000,
        "price_source": "simulated",
        "priced_at": NOW_TEXT,
        "availability": "available",
        **changes,
    }


def make_instance(**changes: Any) -> dict[str, Any]:
    offer = {
        key: value
        for key, value in make_offer(backend="azure", price_source="").items()
        if key in NO_OFFER or key == "backend"
    }
    made = {
        "name": "calm-heron-10",
        "pool": "default-pool",
        "state": "idle",
        "reason": "agent-ready",
        "detail": "",
        "actor": "user:ann",
        "created_at": "2025-12-31T23:50:00.000Z",
        "changed_at": "2025-12-31T23:55:00.000Z",
        "expires_at": "2026-01-01T00:04:30.000Z",
        "idle_limit_s": 570,
        **offer,
        "lease": None,
        "unreachable": False,
        "cordoned": False,
        "interrupted": False,
        "ends_at": None,
        "seen_at": "2025-12-31T23:59:58.000Z",
        "fence": 3,
        **changes,
    }
    return {"instance_id": f"i-{made['name']}", **made}


def make_attempt(**changes: Any) -> dict[str, Any]:
    return {
        "number": 1,
        "attempt_id": f"a-{changes.get('number', 1)}",
        "offer": make_offer(),
        "state": "launched",
        "kind": "",
        "detail": "",
        "started_at": NOW_TEXT,
        "ended_at": None,
        **changes,
    }


def make_pool(**changes: Any) -> dict[str, Any]:
    created = "2025-12-31T00:00:00.000Z"
    return {"name": "default-pool", "is_default": True, "total": 2, "available": 1, "created_at": created, **changes}


def make_plan(**changes: Any) -> dict[str, Any]:
    return {
        "pool": "default-pool",
        "requirements": "2..xCPU, 8GB.., 1xGPU (80GB)",
        "policies": {"spot_policy": "on-demand", "max_price_micros": None, "idle_limit_s": 259_200, "backends": []},
        "instances": [],
        "offers": [make_offer()],
        "total_offers": 1,
        "filters": [],
        **changes,
    }


def make_run(**changes: Any) -> dict[str, Any]:
    made = {
        "name": "brave-otter-42",
        "pool": "default-pool",
        "state": "running",
        "reason": "picked-up",
        "detail": "",
        "actor": "user:ann",
        "created_at": "2025-12-31T23:59:00.000Z",
        "changed_at": NOW_TEXT,
        "started_at": None,
        "ended_at": None,
        "exit_code": None,
        "argv": ["python", "train.py"],
        "image": "",
        "instance": {"instance_id": "i-calm-heron-10", "name": "calm-heron-10"},
        "lease_id": "",
        "placements": 1,
        "tries": 1,
        "last_failure": "",
        "retry_at": None,
        "ends_by": None,
        "nodes": 1,
        "jobs": [],
        **changes,
    }
    return {"run_id": f"run-{made['name']}", **made}


def make_lease(**changes: Any) -> dict[str, Any]:
    return {
        "lease_id": "default-pool.i-1.4",
        "holder": "ann",
        "fence": 4,
        "acquired_at": NOW_TEXT,
        "expires_at": "2026-01-01T00:02:00.000Z",
        "instance": make_instance(state="busy"),
        **changes,
    }


def make_backend(**changes: Any) -> dict[str, Any]:
    config = changes.setdefault("config", {"regions": ["eu-central-1"]})
    return {
        "name": "aws",
        "kind": "aws",
        "built_in": False,
        "state": "open",
        "regions": config.get("regions", []),
        "version": 1,
        "created_at": NOW_TEXT,
        "changed_at": NOW_TEXT,
        "actor": "user:ann",
        "checkup": None,
        "catalog_at": None,
        **changes,
    }


def make_check(**changes: Any) -> dict[str, Any]:
    return {"check": "os", "status": "pass", "code": "ok", "found": "Debian 12", "fix": "", **changes}


def make_host_facts(**changes: Any) -> dict[str, Any]:
    return {
        "destination": "ubuntu@10.0.0.7",
        "jump": "",
        "from_here": False,
        "step": "done",
        "failure": "",
        "jump_host_key": "",
        "host_key": "",
        "network": "10.0.0.0/24",
        "address": "10.0.0.7",
        "machine_id": "5d41402abc4b2a76b9719d911017c592",
        "checks": [],
        "cleanup_pending_since": None,
        **changes,
    }
