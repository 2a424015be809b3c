"""What holds for one command: the command line before the run file, that before the profile, and each with its source.

What none of them says is left to the server, whose plan answers the defaults: there is no second copy of them here.
"""

from __future__ import annotations

from tidepool.command import UsageError
from tidepool.errors import InputError
from tidepool.keys import BY_NAME, KEYS, Said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from tidepool.command import Session
    from tidepool.profiles import Profile
    from tidepool.run_file import RunFile
    from tidepool.wire import PlanRequest, Policies

    T = TypeVar("T")

PLACEMENT = ("pool", "instance", "reuse")
"""The keys that are no policies: they stand beside them in the request of a run."""
SPOT_OPTIONS = {"spot": "--spot", "on-demand": "--on-demand", "auto": "--spot-auto"}


class Choices:
    """What was said, merged. `notes` are lines for the reader about what was passed over or has another name now."""

    def __init__(
        self,
        layers: Iterable[Mapping[str, Said]],
        *,
        run_file: RunFile | None = None,
        profile: Profile | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.said = merged(layers)
        self.run_file = run_file
        self.profile = profile
        self.notes = list(notes)

    def get(self, name: str) -> Any:
        """What was said of a key; None when nothing was."""
        said = self.said.get(name)
        return said.value if said else None

    def policies(self, *, for_run: bool = False) -> Policies:
        """The part of a request that plans, instances, runs and leases share."""
        request: dict[str, Any] = {}
        for key in KEYS:
            if key.name not in self.said or key.name in PLACEMENT or (key.run_only and not for_run):
                continue
            target = request.setdefault("requirements", {}) if key.section else request
            target[key.name] = self.get(key.name)
        return request  # type: ignore[return-value]

    def plan_request(self, *, for_run: bool = False, max_offers: int | None = None, nodes: int = 1) -> PlanRequest:
        """The request for a plan. Several nodes are a run's."""
        request: PlanRequest = {**self.policies(for_run=for_run)}  # type: ignore[typeddict-item]
        if self.get("pool"):
            request["pool"] = self.get("pool")
        if max_offers is not None:
            request["max_offers"] = max_offers
        if for_run:
            request["for_run"] = True
        if nodes > 1:
            request["nodes"] = nodes
        return request

    def placement(self) -> dict[str, Any]:
        """Where a run may be placed."""
        return {name: self.get(name) for name in PLACEMENT if self.get(name)}

    def asked(self, call: Callable[..., T], *args: Any, **named: Any) -> T:
        """Make a call of the API. When it refuses a value that a file says, the refusal names file and line too."""
        try:
            return call(*args, **named)
        except InputError as error:
            key = _key_of(str(error.context.get("field", "")))
            said = self.said.get(key)
            if said and not said.source.startswith("-"):
                error.detail += f"\n  said by {said.source}"
            raise


def gather(args: Namespace, session: Session, *, of_folder: bool = False) -> Choices:
    """Read what applies to this command line. `of_folder`: the folder's run file does, where none is named and the
    command line has no command of its own. Raises `UsageError`, and `FileError` for a file that is at fault."""
    from tidepool.profiles import choose

    notes: list[str] = []
    run_file = _run_file(args, session, notes, of_folder=of_folder)
    profile = choose(session.folder, session.environ, args.profile or "")
    layers = [from_options(args)]
    if run_file:
        layers.append(run_file.policies)
        notes += run_file.notes
    if profile:
        layers.append(profile.policies)
        notes += profile.notes
    for note in notes:
        session.out.note(f"note: {note}")
    return Choices(layers, run_file=run_file, profile=profile, notes=notes)


def from_options(args: Namespace) -> dict[str, Said]:
    """What the command line itself says of the keys of the table."""
    said = {}
    for key in KEYS:
        value = getattr(args, key.dest, None)
        if key.name != "retry" and value is not None:
            option = key.option
            if key.kind == "spot":
                option = SPOT_OPTIONS[value]
            elif value is False:
                option = f"--no-{option.removeprefix('--')}"
            said[key.name] = Said(value, option)
    retry = _retry(args)
    if retry:
        said["retry"] = retry
    return said


def merged(layers: Iterable[Mapping[str, Said]]) -> dict[str, Said]:
    """The first layer that says something of a key wins. A list replaces a list. Of `retry`, what a map does not say is
    taken from the next layer that speaks of it, as long as that is a map too."""
    result: dict[str, Said] = {}
    retries = []
    for layer in layers:
        for name, said in layer.items():
            result.setdefault(name, said)
        if "retry" in layer:
            retries.append(layer["retry"])
    if retries:
        result["retry"] = _completed(retries)
    return result


def _completed(retries: list[Said]) -> Said:
    first, *rest = retries
    if not isinstance(first.value, dict):
        return first
    value, sources = dict(first.value), [first.source]
    for said in rest:
        if not isinstance(said.value, dict):
            break
        more = {part: setting for part, setting in said.value.items() if part not in value}
        if more:
            value |= more
            sources.append(f"{', '.join(more)}: {said.source}")
    return Said(value, "; ".join(sources))


def _retry(args: Namespace) -> Said | None:
    """`--retry` and `--no-retry` say all of it; the other two each say a part, and that it is on."""
    switch = getattr(args, "retry", None)
    parts = {
        "on_events": ("--retry-on", getattr(args, "retry_on", None)),
        "duration": ("--retry-duration", getattr(args, "retry_duration", None)),
    }
    given = {part: value for part, (_, value) in parts.items() if value is not None}
    options = [option for option, value in parts.values() if value is not None]
    if switch is False and given:
        raise UsageError(f"argument --no-retry: not allowed with argument {options[0]}")
    if switch and given:
        return Said(given, ", ".join(["--retry", *options]))
    if given:
        return Said(given, ", ".join(options))
    return None if switch is None else Said(switch, "--retry" if switch else "--no-retry")


def _run_file(args: Namespace, session: Session, notes: list[str], *, of_folder: bool) -> RunFile | None:
    given = {text.partition("=")[0] for text in getattr(args, "env", None) or ()}
    if args.file:
        from os.path import expanduser, join

        from tidepool.run_file import load

        return load(join(session.folder, expanduser(args.file)), args.file, session.environ, given)
    if not of_folder or not session.folder:
        return None
    from os.path import basename

    from tidepool.run_file import find, load

    path = find(session.folder)
    if path and args.job:
        if args.explain:
            notes.append(f"{basename(path)} is not read, because the command line has a command; -f names it")
        return None
    return load(path, basename(path), session.environ, given) if path else None


def _key_of(field: str) -> str:
    """The key of the table that a field of a request belongs to."""
    parts = field.split(".")
    name = parts[1] if parts[0] == "requirements" and len(parts) > 1 else parts[0]
    return name if name in BY_NAME else ""
