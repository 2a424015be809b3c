"""Projects and pools."""

from dataclasses import replace

from chalicelib.domain.errors import AlreadyExistsError, ConflictError, NotFoundError, PoolNotEmptyError
from chalicelib.domain.lifecycle import REMOVABLE, Reason
from chalicelib.domain.model import Pool
from chalicelib.domain.names import require_name
from chalicelib.services import teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as instance_store
from chalicelib.store import pools as store

DEFAULT_POOL = "default-pool"
DRAIN_PAGE = 100


def create_project(deps: Deps, name: str) -> None:
    """Make a project. Raises `AlreadyExistsError`."""
    store.create_project(require_name(name, "name"), deps.now())


def require_project(deps: Deps, project: str) -> None:
    """Raise `NotFoundError` unless the project exists."""
    if store.project(project) is None:
        raise NotFoundError(f"project {project!r} is unknown")


def create(deps: Deps, project: str, name: str) -> Pool:
    """Make a pool; the first one of a project becomes its default. Raises `AlreadyExistsError`."""
    pool = Pool(project=project, name=require_name(name, "name"), created_at=deps.now())
    return store.create(pool)


def get(deps: Deps, project: str, name: str) -> Pool:
    """Return one pool without its counts. Raises `NotFoundError`."""
    return store.get(project, name)


def show(deps: Deps, project: str, name: str) -> Pool:
    """Return one pool with its kept counts. Raises `NotFoundError`."""
    counted, _ = store.directory(project, name)
    return replace(counted, is_default=store.default(project) == name)


def list_pools(deps: Deps, project: str) -> list[Pool]:
    """Return every pool of a project with its kept counts, by name."""
    return store.list_pools(project)


def set_default(deps: Deps, project: str, name: str) -> Pool:
    """Make a pool the project's default. Raises `NotFoundError`."""
    return store.set_default(project, name)


def resolve(deps: Deps, project: str, name: str | None) -> Pool:
    """Return the named pool, or the project's default one, which is made on first use.

    A named pool that does not exist is an error: a typing slip must not make a pool.
    """
    if name:
        return get(deps, project, name)
    default = store.default(project)
    if default is not None:
        return get(deps, project, default)
    try:
        return create(deps, project, DEFAULT_POOL)
    except AlreadyExistsError:
        return store.set_default(project, DEFAULT_POOL)


def delete(deps: Deps, project: str, name: str, *, force: bool, actor: str) -> bool:
    """Delete a pool. Returns whether it is gone already; with `force` a pool that has instances drains first.

    The pool is closed to new instances before it is looked into, so that nothing can slip in between. Only `force`
    marks it as draining, and only what is so marked is ever drained: by this call, by the teardown of its last
    instance, by reconcile. A crash after a mark without force leaves a closed pool, which reconcile opens again.
    Raises `PoolNotEmptyError` when there are live instances and no force.
    """
    get(deps, project, name)
    store.begin_delete(project, name, drain=force)
    if force:
        return drain(deps, project, name, actor=actor)
    live, _ = instance_store.live(project, name, limit=DRAIN_PAGE, cursor=None)
    if live:
        store.cancel_delete(project, name)
        names = [instance.name for instance in live]
        raise PoolNotEmptyError(f"pool {name!r} has live instances; force removes them", instances=names)
    store.end_delete(project, name)
    return True


def drain(deps: Deps, project: str, name: str, *, actor: str) -> bool:
    """Remove a page of the instances of a pool that is draining, and the pool itself once it is empty.

    Returns whether it is gone. A pool that is not draining, as of now, is left alone.
    """
    if not get(deps, project, name).draining:
        return False
    live, _ = instance_store.live(project, name, limit=DRAIN_PAGE, cursor=None)
    for instance in live:
        if instance.state in REMOVABLE:
            teardown.remove(deps, instance, force=True, reason=Reason.POOL_DELETED, actor=actor)
    if not live:
        store.end_delete(project, name)
    return not live


def reopen(deps: Deps, project: str, name: str) -> None:
    """Open a pool whose deletion was refused or died half way."""
    store.cancel_delete(project, name)


def require_open(pool: Pool) -> Pool:
    """Return the pool, or raise `ConflictError` while it is being deleted."""
    if pool.deleting:
        raise ConflictError(f"pool {pool.name!r} is being deleted")
    return pool
