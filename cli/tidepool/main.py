"""The entry: finds the command that is meant, loads only that, and turns every outcome into an exit code."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from tidepool.command import Command, Parser, Session

Entry = tuple[str, str, str]
"""Module below `tidepool.commands`, class, summary."""

COMMANDS: dict[str, Entry] = {
    "run": ("run", "Run", "run a command on an instance of a pool, with the current folder's code"),
    "ps": ("runs", "ListRuns", "list runs"),
    "logs": ("runs", "Logs", "show the log of a run, and follow it"),
    "stop": ("runs", "Stop", "stop a run"),
    "pool list": ("pool", "ListPools", "list pools"),
    "pool create": ("pool", "CreatePool", "create a pool"),
    "pool delete": ("pool", "DeletePool", "delete a pool"),
    "pool set-default": ("pool", "SetDefault", "choose the pool that is meant when none is named"),
    "pool ps": ("pool_ps", "ListInstances", "list the instances of a pool"),
    "pool add": ("pool_add", "AddInstance", "plan, confirm and add an instance to a pool"),
    "pool add-ssh": ("add_ssh", "AddHosts", "adopt servers that you own, over SSH"),
    "pool rm": ("pool_rm", "RemoveInstances", "remove instances from a pool"),
    "instance show": ("instance", "ShowInstance", "show one instance: facts, attempts, history, cost"),
    "instance set": ("instance", "ChangeInstance", "change an instance's idle time, or keep work away from it"),
    "host list": ("host", "ListHosts", "list the adopted hosts, and those that are still to be cleaned"),
    "host check": ("host", "CheckHosts", "find out whether hosts can be adopted, without adopting them"),
    "host refresh": ("host", "RefreshHosts", "read the facts of adopted hosts again"),
    "host forget": ("host", "ForgetHosts", "wait no longer for hosts that are still to be cleaned"),
    "offer": ("offer", "ShowOffers", "show what adding would choose from, without buying"),
    "backend list": ("backend", "ListBackends", "list the accounts that machines are rented with"),
    "backend add": ("backend_add", "AddBackend", "add an account at a provider"),
    "backend test": ("backend", "TestBackend", "find out whether machines can be rented on a backend"),
    "backend rm": ("backend", "RemoveBackends", "remove a backend and its credentials"),
    "lease acquire": ("lease", "AcquireLease", "hold an idle instance"),
    "lease heartbeat": ("lease", "BeatLease", "prolong a lease"),
    "lease release": ("lease", "ReleaseLease", "give a held instance back"),
    "lease show": ("lease", "ShowLease", "show a lease"),
    "token create": ("token", "CreateToken", "create a token"),
    "token list": ("token", "ListTokens", "list tokens"),
    "token revoke": ("token", "RevokeToken", "revoke a token"),
    "login": ("login", "Login", "store the URL and token of a control plane"),
    "config": ("login", "ShowConfig", "show which control plane is used, and why"),
    "rehearse list": ("rehearse", "ListFaults", "list the local cloud's scripted faults"),
    "rehearse set": ("rehearse", "SetFault", "script a fault of the local cloud"),
    "rehearse reset": ("rehearse", "ResetFaults", "end all scripted faults"),
    "rehearse preempt": ("rehearse", "Preempt", "have the local cloud take a machine back"),
    "version": ("version", "ShowVersion", "show the version"),
}
GROUPS = {
    "pool": "pools and their instances",
    "instance": "one instance",
    "host": "servers that you own",
    "backend": "accounts at providers",
    "lease": "exclusive holds on instances",
    "token": "access tokens",
    "rehearse": "failures of the local cloud, on purpose",
}
ALIASES = {
    "pool": "pool list",
    "pool remove": "pool rm",
    "backend remove": "backend rm",
    "offers": "offer",
    "--version": "version",
    "-V": "version",
}
INTERRUPTED = 130
UNWRITTEN = 2
"""The result could not be written: what `local-io` ends with."""


def main(argv: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run one command line and answer its exit code. Never lets an exception out (but with TIDEPOOL_DEBUG)."""
    _open_closed_streams()
    try:
        code = _outcome(list(sys.argv[1:] if argv is None else argv), session)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # whoever reads a listing had enough of it
        code = 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    except OSError:  # a full disk: told when it was written, unless it is only noticed now
        _forget_stdout()
        code = code or UNWRITTEN
    return code


def _outcome(words: list[str], session: Session | None) -> int:
    _forgive_encoding(sys.stdout)
    _forgive_encoding(sys.stderr)
    as_json = "--json" in (words[: words.index("--")] if "--" in words else words)
    try:
        _refuse_undecodable(words)
        return dispatch(words, session)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:  # the last door: the user gets a sentence
        if os.environ.get("TIDEPOOL_DEBUG"):
            raise
        from tidepool.failure import report

        return report(error, sys.stderr, as_json=as_json)


def dispatch(words: list[str], session: Session | None = None) -> int:
    """Find the command, parse its arguments, run it."""
    if not words or words[0] in ("-h", "--help", "help"):
        from tidepool.help import show_help

        return show_help(words[1:], COMMANDS)
    name, rest = resolve(words)
    if name in GROUPS:
        from tidepool.help import show_group

        return show_group(name, COMMANDS, GROUPS)
    module, attribute, _ = COMMANDS[name]
    command: Command = getattr(__import__(f"tidepool.commands.{module}", fromlist=[attribute]), attribute)()
    from tidepool.command import make_parser

    parser = make_parser(f"tidepool {name}", command)
    own, job = _split(rest, command)
    if "-h" in own or "--help" in own:
        sys.stdout.write(parser.format_help())
        return 0
    return _run(command, parser, own, job, session or _session())


def resolve(words: list[str]) -> tuple[str, list[str]]:
    """Tell the command's full name from the rest. A group's name alone is answered as it is, for its help."""
    first, second = words[0], words[1] if len(words) > 1 else ""
    pair = f"{first} {second}"
    pair = ALIASES.get(pair, pair)
    if pair in COMMANDS:
        return pair, words[2:]
    if first in GROUPS and second in ("-h", "--help"):
        return first, []
    if first in GROUPS and second and not second.startswith("-"):
        raise _unknown(f"{first} {second}")
    single = ALIASES.get(first, first)
    if single in COMMANDS or single in GROUPS:
        return single, words[1:]
    raise _unknown(first)


def _unknown(name: str) -> Exception:
    from tidepool.command import UsageError
    from tidepool.text import LONGEST_ECHO, clipped

    shown = clipped(name, LONGEST_ECHO)
    if name.startswith("-"):
        return UsageError(f"{shown} comes after the command: tidepool COMMAND [options]\nSee `tidepool --help`.")
    from tidepool.help import nearest

    close = nearest(name, [*COMMANDS, *GROUPS, "help"])
    hint = f"; did you mean `tidepool {close}`?" if close else ""
    return UsageError(f"there is no command `tidepool {shown}`{hint}\nSee `tidepool --help`.")


def _split(rest: list[str], command: Command) -> tuple[list[str], list[str]]:
    if not command.takes_command or "--" not in rest:
        return rest, []
    at = rest.index("--")
    return rest[:at], rest[at + 1 :]


def _run(command: Command, parser: Parser, own: list[str], job: list[str], session: Session) -> int:
    args = (parser.parse_intermixed_args if command.is_mixed else parser.parse_args)(own)
    args.job = job
    from tidepool.output import Output

    session.attach(Output(sys.stdout, sys.stderr, session.environ, as_json=args.json), args.project or "")
    try:
        return command.run(args, session)
    finally:
        session.close()


def _session() -> Session:
    import time

    from tidepool.command import Session
    from tidepool.control_plane import current_folder

    return Session(
        stdin=sys.stdin,
        environ=os.environ,
        folder=current_folder(),
        now=time.time,
        monotonic=time.monotonic,
        sleep=time.sleep,
    )


def _open_closed_streams() -> None:
    """Put the null device in the place of a standard stream that was closed: Python has None there."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for good
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for good
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for good


def _refuse_undecodable(words: list[str]) -> None:
    """Refuse bytes that are no text: no name, value or command line could carry them over JSON."""
    before = ""
    for word in words:
        if not word.isascii() and any("\ud800" <= char <= "\udfff" for char in word):
            from tidepool.command import UsageError
            from tidepool.text import quoted

            option = next((one.partition("=")[0] for one in (word, before) if one.startswith("-")), "")
            raise UsageError(f"argument {option + ': ' if option else ''}{quoted(word)} is not UTF-8")
        before = word


def _forgive_encoding(stream: TextIO) -> None:
    """A terminal without Unicode gets question marks, not a failure."""
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _forget_stdout() -> None:
    """Whoever read our output has gone; give the interpreter's last flush somewhere to go."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
