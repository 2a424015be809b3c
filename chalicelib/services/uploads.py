"""Code archives: stored once under what they contain, straight from the client to S3."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chalicelib.services import pools
from chalicelib.services.deps import Deps
from chalicelib.services.runs import code_key

MAX_SIZE: Final = 512 * 1024 * 1024
URL_FOR: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Upload:
    """Whether the archive is there already; if not, where to PUT it until `expires_at`, with which headers."""

    present: bool
    url: str | None
    headers: dict[str, str]
    expires_at: datetime | None


def prepare(deps: Deps, project: str, sha256: str, size: int) -> Upload:
    """Look for an archive, and sign a PUT for exactly its bytes if it is not there. Nothing is stored by this."""
    pools.require_project(deps, project)
    key = code_key(project, sha256)
    if deps.objects.present(key):
        return Upload(present=True, url=None, headers={}, expires_at=None)
    url, headers = deps.objects.put_url(key, sha256=sha256, size=size, expires=URL_FOR)
    return Upload(present=False, url=url, headers=headers, expires_at=deps.now() + URL_FOR)
