"""`cli.md`: every command with its options, from the parsers themselves.

Not from argparse's formatted help: that differs between the versions of Python.
"""

from argparse import SUPPRESS, Action
from importlib import import_module

from infra.reference.markdown import code, sentence, table
from infra.reference.markdown import page as whole
from tidepool import help as cli_help
from tidepool.command import Command, Parser, make_parser
from tidepool.main import ALIASES, COMMANDS, GROUPS

EVERYWHERE = ("--help", "--project", "--json")
"""Options that every command has; the page names them once."""


def page() -> str:
    """Make the page."""
    parts = [_command(name) for name in COMMANDS]
    topics = [f"## {title}\n\n```text\n{body}\n```" for title, body in map(_topic, cli_help.TOPICS.values())]
    return whole("Command line", INTRO, _overview(), "## Commands", *parts, *topics)


def parser_of(name: str) -> tuple[Parser, Command]:
    """Build the parser of one command."""
    module, attribute, _ = COMMANDS[name]
    command: Command = getattr(import_module(f"tidepool.commands.{module}"), attribute)()
    return make_parser(f"tidepool {name}", command), command


def actions_of(parser: Parser) -> list[tuple[str, Action]]:
    """Every argument of a command that its help shows, with the title of its group."""
    groups = parser._action_groups
    return [
        (group.title or "", action)
        for group in groups
        for action in group._group_actions
        if action.help is not SUPPRESS and not set(EVERYWHERE) & set(action.option_strings)
    ]


def _overview() -> str:
    rows = [(f"[{code(name)}](#{anchor(name)})", entry[2]) for name, entry in COMMANDS.items()]
    aliases = [f"{code(alias)} is {code(name)}" for alias, name in ALIASES.items() if not alias.startswith("-")]
    groups = [f"{code(name)}: {words}" for name, words in GROUPS.items()]
    return f"{table(('command', ''), rows)}\n\nGroups: {'; '.join(groups)}. Short forms: {', '.join(aliases)}."


def anchor(name: str) -> str:
    """Where a command's part of the page is."""
    return f"tidepool-{name.replace(' ', '-')}"


def _command(name: str) -> str:
    parser, command = parser_of(name)
    actions = actions_of(parser)
    places = [_place(action) for _, action in actions if not action.option_strings]
    usage = " ".join(
        [f"tidepool {name}", "[options]", *places, *(["-- COMMAND [ARG …]"] if command.takes_command else [])]
    )
    head = (
        f'### <a id="{anchor(name)}"></a>tidepool {name}\n\n{sentence(type(command).__doc__)}\n\n```text\n{usage}\n```'
    )
    rows = [(_spelling(action), _meaning(action), group) for group, action in actions]
    grouped = [(spelling, meaning, _group(group)) for spelling, meaning, group in rows]
    return f"{head}\n\n{table(('argument', 'meaning', 'group'), grouped)}" if rows else head


def _group(title: str) -> str:
    """The title without its hint in brackets; the two groups that argparse makes by itself have no name here."""
    return "" if title in ("options", "positional arguments") else title.partition(" (")[0]


def _place(action: Action) -> str:
    shown = str(action.metavar or action.dest.upper())
    return f"{shown} …" if action.nargs in ("+", "*") else shown


def _spelling(action: Action) -> str:
    if not action.option_strings:
        return code(_place(action))
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return ", ".join(code(f"{option}{value}") for option in action.option_strings)


def _value(action: Action) -> str:
    if action.choices and not action.metavar:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())


def _meaning(action: Action) -> str:
    return sentence(action.help)


def _topic(text: str) -> tuple[str, str]:
    title, _, body = text.partition("\n")
    return title.strip(), body.strip("\n")


INTRO = """\
`tidepool COMMAND --help` shows the same. Every command also takes `-h`, `--help`; `--project NAME` (another
project than the configured one); and `--json` (one JSON document on standard output and nothing else there; a
failure is then one JSON line on standard error)."""
