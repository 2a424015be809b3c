"""Run the AWS emulator inside this process, on the loopback interface, behind the guard.

    python -m infra.local.emulator --port 4577 --state .tidepool/state

Never the emulator's own command: that listens on every interface, answers any web page and hands the caller's
environment, with whatever credentials are in it, to each Lambda. State is written on a graceful stop (SIGTERM) only:
`kill -9` loses everything since the start. A workflow that is running at a stop comes back as failed.
"""

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from infra.local import snapshot
from infra.local.guard import Guard

PINNED: Final = "1.5.33"
"""The version of ministack whose internals the two speed shims were measured on."""

REGION: Final = "us-east-1"
API_REQUESTS: Final = 6
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV")
GRACE_S: Final = 1.0
"""How long a stop waits for requests that run; a long poll of a queue takes up to 20 s and may be cut."""

PARENT_POLL_S: Final = 0.5


def root_key(state: Path) -> str:
    """The key id that is root in the emulator of this state folder. It is random and readable by its owner alone.

    The emulator takes the key id for the proof, so the id is a secret here. Made on first use.
    """
    path = state / "root-key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
    return path.read_text()


def environment(
    inherited: Mapping[str, str], *, port: int, state: Path, auth: bool, wait_scale: float
) -> dict[str, str]:
    """The whole environment of the emulator and of every Lambda it starts.

    Nothing else of `inherited` than `KEPT` passes: no credentials, no profile, no proxy, no private key agent.
    """
    environ = {name: inherited[name] for name in KEPT if name in inherited}
    home = state / "home"
    return environ | {
        "HOME": str(home),
        "TMPDIR": str(state / "tmp"),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": root_key(state) if auth else "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "MINISTACK_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AUTH": "true" if auth else "false",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state / "services"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "SFN_WAIT_SCALE": str(wait_scale),
        # Both listeners would open on every interface, whatever BIND_HOST says.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{home}/no-docker",
        "LOG_LEVEL": "WARNING",
    }


def speed_up() -> None:
    """Take two waits out of each Lambda call (101 -> 9 ms). Nothing depends on it, so another version does without."""
    if version("ministack") != PINNED:
        print(f"ministack is not {PINNED}: Lambda calls take 90 ms longer", file=sys.stderr)  # noqa: T201
        return
    from ministack.core import lambda_runtime as runtime  # type: ignore[import-untyped]

    # 50 ms for a first log line; a line that comes later is attached to the next call's.
    first_line_wait_s, idle_s, cap_s = 0.001, 0.001, 0.250
    runtime.Worker._drain_stderr_bounded.__defaults__ = (first_line_wait_s, idle_s, cap_s)
    build = runtime.ProvidedWorker._build_handler_class

    def without_nagle(*args: Any, **kwargs: Any) -> type:
        """The runtime API answers in two small packets: the second one waited 40 ms for a delayed acknowledgement."""
        handler: type = build(*args, **kwargs)
        handler.disable_nagle_algorithm = True  # type: ignore[attr-defined]
        return handler

    runtime.ProvidedWorker._build_handler_class = without_nagle


def keep_task_deadlines() -> None:
    """Let a task's `TimeoutSecondsPath` count, which the emulator passes over.

    Without it the wait for an agent's callback has no end, and a machine that never reports is given up by its timer
    alone, two minutes late.
    """
    from ministack.services import stepfunctions  # type: ignore[import-untyped]

    execute = stepfunctions._execute_task

    def with_deadline(state: dict[str, Any], given: Any, execution: Any, context: Any) -> Any:
        if path := state.get("TimeoutSecondsPath"):
            state = {**state, "TimeoutSeconds": stepfunctions._resolve_path(path, given)}
        return execute(state, given, execution, context)

    stepfunctions._execute_task = with_deadline


async def serve(*, port: int, state: Path, key: str | None, api_requests: int, parent: int | None) -> None:
    """Serve until SIGTERM, SIGINT or the end of `parent`, then store the state."""
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config
    from ministack.app import app  # type: ignore[import-untyped]

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = GRACE_S
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    watch = asyncio.create_task(_outlive_not(parent, stop)) if parent else None
    guard = Guard(app, port=port, root_key=key, api_requests=api_requests)

    async def stopped() -> None:
        await stop.wait()
        snapshot.storing(state)

    await hypercorn_serve(guard, config, shutdown_trigger=stopped)  # type: ignore[arg-type]
    snapshot.stored(state)
    if watch:
        watch.cancel()


async def _outlive_not(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_POLL_S)
    stop.set()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.emulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--state", type=Path, required=True, help="folder of the state; made when missing")
    parser.add_argument("--no-auth", action="store_true", help="no IAM: any key may do anything")
    parser.add_argument("--api-requests", type=int, default=API_REQUESTS, help="API requests that run at once")
    parser.add_argument("--wait-scale", type=float, default=1.0, help="factor on waits and retries of workflows")
    parser.add_argument("--parent", type=int, help="stop when this process, which must be the parent, is gone")
    return parser.parse_args()


def main() -> None:
    """Take over this process: its environment is replaced before the emulator, which reads it at import, is loaded."""
    arguments = _arguments()
    state = arguments.state.resolve()
    auth = not arguments.no_auth
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", arguments.port)) == 0:
            sys.exit(f"port {arguments.port} is in use")
    for folder in ("home", "tmp", "services", "s3"):
        (state / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    environ = environment(os.environ, port=arguments.port, state=state, auth=auth, wait_scale=arguments.wait_scale)
    os.environ.clear()
    os.environ.update(environ)
    os.umask(0o077)
    speed_up()
    keep_task_deadlines()
    key = environ["AWS_ACCESS_KEY_ID"] if auth else None
    limits = {"api_requests": arguments.api_requests, "parent": arguments.parent}
    asyncio.run(serve(port=arguments.port, state=state, key=key, **limits))


if __name__ == "__main__":
    main()
