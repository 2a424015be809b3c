"""`tidepool pool list|create|delete|set-default`."""

from __future__ import annotations

from tidepool.command import Command
from tidepool.options import add_yes, name
from tidepool.text import since_text, yes_no

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session


class ListPools(Command):
    """List the pools of the project. INSTANCES is available/total."""

    def run(self, args: Namespace, session: Session) -> int:
        pools = session.client.pools.list()
        if args.json:
            session.out.json(pools)
            return 0
        now = session.now()
        session.out.table(
            ("NAME", "DEFAULT", "INSTANCES", "CREATED"),
            [
                (
                    pool["name"],
                    yes_no(pool["is_default"]),
                    f"{pool['available']}/{pool['total']}",
                    since_text(pool["created_at"], now) + " ago",
                )
                for pool in pools
            ],
        )
        return 0


class CreatePool(Command):
    """Create a pool. The first one of a project becomes its default."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=name, metavar="NAME")

    def run(self, args: Namespace, session: Session) -> int:
        pool = session.client.pools.create(args.name)
        if args.json:
            session.out.json(pool)
        else:
            session.out.line(f"pool {pool['name']} created" + (" (default)" if pool["is_default"] else ""))
        return 0


class DeletePool(Command):
    """Delete a pool. One with instances is refused, unless --force removes them as well."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=name, metavar="NAME")
        parser.add_argument("--force", action="store_true", help="remove its instances, busy ones too")
        add_yes(parser)

    def run(self, args: Namespace, session: Session) -> int:
        if args.force and not args.yes:
            session.confirm(f"Delete pool {args.name} and all its instances?")
        gone = session.client.pools.delete(args.name, force=args.force)
        if args.json:
            session.out.json({"name": args.name, "deleted": gone})
        elif gone:
            session.out.line(f"pool {args.name} deleted")
        else:
            session.out.line(f"pool {args.name} is deleted as soon as its instances are gone")
        return 0


class SetDefault(Command):
    """Choose the pool that is meant when none is named."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=name, metavar="NAME")

    def run(self, args: Namespace, session: Session) -> int:
        pool = session.client.pools.set_default(args.name)
        if args.json:
            session.out.json(pool)
        else:
            session.out.line(f"pool {pool['name']} is the default")
        return 0
