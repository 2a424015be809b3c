"""What stands behind configured backends in a world: secrets in memory, and a provider that a project can add."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.backends.base import Account, Backend, Capabilities, Check, LaunchSpec, Machine, Part, Phase
from chalicelib.domain.errors import InvalidInputError, NoCapacityError
from chalicelib.domain.model import Offer

GOOD: list[Check] = [Check("credentials", ok=True, detail="account 42")]


class MemorySecrets:
    """Secrets in memory. `on_put` is called before one is stored, for what happens just then."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, str]] = {}
        self.on_put: Callable[[], None] = lambda: None
        self.on_delete: Callable[[], None] = lambda: None

    def put(self, name: str, values: Mapping[str, str]) -> None:
        hook, self.on_put = self.on_put, lambda: None
        hook()
        self.kept[name] = dict(values)

    def get(self, name: str) -> dict[str, str] | None:
        return self.kept.get(name)

    def delete(self, name: str) -> None:
        hook, self.on_delete = self.on_delete, lambda: None
        hook()
        self.kept.pop(name, None)


class Moon:
    """A provider of the kind `moon`: offers what it is told to, and is checked as it is told to."""

    capabilities = Capabilities(spot=False, cluster=False, simulated=True)

    def __init__(self, account: Account, drivers: "SimDrivers") -> None:
        self.name = account.name
        self.account = account
        self.drivers = drivers

    def check(self) -> list[Check]:
        return self.drivers.check(self.account)

    def offers(self, part: Part | None = None) -> list[Offer]:
        mine = [offer for offer in self.drivers.shelf if offer.backend == self.name]
        return [offer for offer in mine if part is None or offer.region == part.region]

    def launch(self, spec: LaunchSpec) -> Machine:
        raise NoCapacityError(f"nothing for {spec.attempt_id}")

    def find(self, attempt_id: str, owner: str, region: str = "") -> Machine | None:  # noqa: ARG002 - the protocol's
        return None

    def describe(self, ref: str) -> Machine:
        return Machine(ref, "", Phase.GONE)

    def terminate(self, ref: str) -> None:
        """There is none."""

    def owned(self, owner: str) -> Iterator[Machine]:  # noqa: ARG002 - the protocol's signature
        yield from ()


class SimDrivers:
    """The built-in `sim` and the kinds `moon` and `mars`, which want a `crater` and a `key`.

    An account of `moon` is its crater, as configured; whose a key of `mars` is, only a check can tell.
    """

    def __init__(self, cloud: Any) -> None:
        self.cloud = cloud
        self.shelf: list[Offer] = []
        self.check: Callable[[Account], list[Check]] = lambda _account: GOOD

    def built_in(self) -> tuple[str, ...]:
        return ("sim",)

    def kinds(self) -> tuple[str, ...]:
        return ("moon", "mars")

    def parse(
        self, kind: str, config: Mapping[str, Any], credentials: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        for part, given, known in (("config", config, {"crater", "regions"}), ("credentials", credentials, {"key"})):
            for name in given.keys() - known:
                raise InvalidInputError(f"{part}.{name}", given[name], f"no such setting of {kind}")
        if not isinstance(credentials.get("key"), str):
            raise InvalidInputError("credentials.key", credentials.get("key"), "the key of the account")
        if len(credentials["key"]) < 8:
            raise InvalidInputError("credentials.key", credentials["key"], f"more than {credentials['key']}")
        return {"crater": config.get("crater", "tycho"), "regions": config.get("regions", [])}, dict(credentials)

    def identity(self, kind: str, config: Mapping[str, Any], account: str) -> str:
        return str(config["crater"]) if kind == "moon" else account

    def make(self, account: Account) -> Backend:
        return self.cloud if account.kind == "sim" else Moon(account, self)
