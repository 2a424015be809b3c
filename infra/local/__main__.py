"""The embedded control plane: `python -m infra.local up | down | status | logs`."""

import argparse
import sys
from pathlib import Path

from infra.build import PackagingError
from infra.deploy import DeployError
from infra.local import control, inspect
from infra.local.control import Options
from infra.local.folder import Folder
from infra.local.inside import InsideError
from infra.local.parts import LocalError

SETTING = "TIDEPOOL_"


def main() -> int:
    """Run one command; 1 when it failed, with the reason on standard error."""
    given = _arguments()
    folder = Folder(given.state.resolve())
    try:
        code: int = given.run(folder, given)
    except (LocalError, PackagingError, DeployError, InsideError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return code


def _up(folder: Folder, given: argparse.Namespace) -> int:
    options = Options(
        port=given.port,
        cloud_port=given.cloud_port,
        settings=dict(given.set),
        schedules=not given.no_schedules,
        ttl_lag=given.ttl_lag,
        wait_scale=given.wait_scale,
    )
    client = control.up(folder, options, _say)
    _say(f"ready: {client['TIDEPOOL_URL']}")
    _say(f"settings for a client: {folder.env_file}")
    return 0


def _down(folder: Folder, given: argparse.Namespace) -> int:
    control.down(folder, _say, leave_machines=given.leave_machines, erase=given.erase, force=given.force)
    return 0


def _status(folder: Folder, _given: argparse.Namespace) -> int:
    lines, running = inspect.status(folder)
    for line in lines:
        _say(line)
    return 0 if running else 1


def _logs(folder: Folder, given: argparse.Namespace) -> int:
    for line in inspect.logs(folder, given.name, lines=given.lines, follow=given.follow):
        _say(line)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=control.__doc__)
    parser.add_argument("--state", type=Path, default=Path(".tidepool"), help="folder of everything (.tidepool)")
    commands = parser.add_subparsers(required=True, metavar="command")

    start = commands.add_parser("up", help="start it in the background, or say that it runs")
    start.add_argument("--port", type=int, help=f"of the API (the last one, else {control.PORT}); 0: any free one")
    start.add_argument("--cloud-port", type=int, help="of the local cloud (the API's plus one)")
    start.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="TIDEPOOL_X=V",
        help="a setting, kept until cleared with X=",
    )
    start.add_argument("--no-schedules", action="store_true", help="neither sweep nor reconcile by the clock")
    start.add_argument("--ttl-lag", default="0", metavar="S", help="seconds from expiry to delete (0), or off")
    start.add_argument("--wait-scale", type=float, default=1.0, metavar="F", help="factor on the waits of workflows")
    start.set_defaults(run=_up)

    stop = commands.add_parser("down", help="stop it and keep its state")
    stop.add_argument("--leave-machines", action="store_true", help="do not power the local cloud's machines off")
    stop.add_argument("--erase", action="store_true", help="remove its state and its machines")
    stop.add_argument("--force", action="store_true", help="erase although machines at providers go on billing")
    stop.set_defaults(run=_down)

    commands.add_parser("status", help="what runs (exit 1: not everything)").set_defaults(run=_status)

    logs = commands.add_parser("logs", help="what the functions, or one part, said")
    logs.add_argument("name", nargs="?", help="a function (api, on-timer, ...) or a part (control-plane, pump, cloud)")
    logs.add_argument("--lines", type=int, default=100, help="how many of the newest (100)")
    logs.add_argument("--follow", action="store_true", help="go on with what is said from now on")
    logs.set_defaults(run=_logs)
    return parser.parse_args()


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith(SETTING):
        raise argparse.ArgumentTypeError(f"a setting is {SETTING}<NAME>=<value>, not {text!r}")
    return name, value


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
