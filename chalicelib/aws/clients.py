"""AWS clients with a time limit on every call and a cap on every retry, made on first use.

A request has 29 s at API Gateway. One call of a client below ends within 3 tries of 2 s to connect and `read_s` to
answer; botocore's standard mode waits between tries with jitter.
"""

from functools import cache
from typing import Any

CONNECT_S = 2
TRIES = 3


@cache
def client(service: str, read_s: int = 5) -> Any:
    """Return the process's one client for `service`, which threads may share.

    S3 is addressed path-style (`/bucket/key`), so that a presigned URL works against an emulator's address as well as
    against AWS, and adds no checksum of its own, which a presigned request could not carry.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        tcp_keepalive=True,
        signature_version="s3v4" if service == "s3" else None,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return _session().client(service, config=config)


def credentials() -> Any:
    """Return the credentials that requests are signed with; temporary ones carry their session token."""
    return _session().get_credentials().get_frozen_credentials()


@cache
def _session() -> Any:
    import boto3

    return boto3.session.Session()
