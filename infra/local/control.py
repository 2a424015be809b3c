"""Bring the embedded control plane up and down.

`down` keeps everything: the tables and objects, and the machines, which are powered off and on again as by a reboot.
`kill -9` of the control plane loses what was written since its start, because the emulator stores its state at the end.
Machines at providers outside of this computer go on whatever happens here, so whoever stops or erases it is told.
"""

import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from infra.build import ROOT
from infra.deploy import outputs
from infra.local import daemons, snapshot
from infra.local.cloud import processes
from infra.local.deploy import Emulator, api_url, deploy, is_deployed
from infra.local.emulator import API_REQUESTS, root_key
from infra.local.folder import PARTS, Folder
from infra.local.inside import InsideError
from infra.local.localise import Localised, of_type, packaged
from infra.local.rented import Rented, rented
from infra.local.seed import PROJECT, seed

STAGE: Final = "local"
STACK: Final = f"tidepool-{STAGE}"
PORT: Final = 4577
START_S: Final = 30.0
POLL_S: Final = 0.02
STOP_S: Final = {"pump": 20.0, "control-plane": 30.0, "cloud": 10.0}
"""How long each part may take to end. The pump delivers what is left, the emulator stores its state."""

POWER_OFF_S: Final = 2.0
WARM_AT_ONCE: Final = 2
"""Environments that start at once: each takes a core for a third of a second."""

KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR", "VIRTUAL_ENV")
"""What the background processes see of the environment."""

HEALTH: Final = "/_ministack/health"
LOST: Final = (
    "the control plane was killed before it had stored anything: its pools, tokens and backends are lost. Add the "
    "backends again, and the machines that they still have under the name {owner} are ended"
)
OWNER_STAYS: Final = "only the name that its machines bear is kept, for the next control plane here to know them by"
END_THEM: Final = "Remove them with `tidepool pool rm` first"
FORCE: Final = "To erase all the same: make down ARGS='--erase --force'"

Say = Callable[[str], None]


class LocalError(Exception):
    """The control plane cannot be brought up. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` may be told. A port 0 is any free one, None the one of the last time; `cloud_port` None follows it."""

    port: int | None = None
    cloud_port: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    schedules: bool = True
    ttl_lag: str = "0"
    api_requests: int = API_REQUESTS
    wait_scale: float = 1.0


def up(folder: Folder, options: Options, say: Say) -> dict[str, str]:
    """Start everything, deploy what has changed, and return what a client needs (`local.env`).

    A control plane that runs is left as it is, one that is half there is stopped first. Raises `LocalError`,
    `InsideError`, `PackagingError` or `DeployError`; what was started until then is stopped again.
    """
    folder.prepare()
    with folder.alone():
        settings = _settings(folder, options.settings)
        if all(daemons.running(folder.pid(part)) for part in PARTS) and folder.client():
            say(f"already running at {folder.client()['TIDEPOOL_URL']}")
            if settings != folder.settings():
                folder.write_settings(settings)
                say("the settings given count from the next start on: make down, make up")
            return folder.client()
        _stop(folder, leave_machines=True)
        try:
            client = _start(folder, options, settings, say)
        except BaseException:
            _stop(folder, leave_machines=True)
            raise
        # Last: a setting with which nothing starts is not there to fail the next start too.
        folder.write_settings(settings)
        return client


def down(folder: Folder, say: Say, *, leave_machines: bool = False, erase: bool = False, force: bool = False) -> None:
    """Stop everything and keep its state, or `erase` it, and say which machines go on billing at their providers.

    `leave_machines` on, for a restart of the rest alone. Erasing raises `LocalError`, before anything is stopped, when
    such machines are left or nobody can tell, unless it is told to `force` it.
    """
    if not folder.root.is_dir():
        say("nothing to stop")
        return
    with folder.alone():
        left, unknown = _left_behind(folder, asleep=erase)
        if erase and not force and (left or unknown):
            raise LocalError(_refusal(left, unknown))
        killed = _stop(folder, leave_machines=leave_machines and not erase)
        if erase:
            folder.erase()
    for part in killed:
        say(f"{part} did not end within {STOP_S[part]:.0f} s and was killed; what it had not stored is lost")
    say(f"erased; {OWNER_STAYS}" if erase else f"stopped; its state is kept in {folder.root}")
    for line in _farewell(left, unknown, erased=erase):
        say(line)


def _settings(folder: Folder, given: Mapping[str, str]) -> dict[str, str]:
    """The settings of the last time with those given now; one given without a value is cleared."""
    return {name: value for name, value in {**folder.settings(), **given}.items() if value}


def _left_behind(folder: Folder, *, asleep: bool) -> tuple[list[Rented], str]:
    """What is rented at providers, or why nobody can tell. `asleep`: wake the emulator for it when it does not run."""
    try:
        if daemons.running(folder.pid("control-plane")) and folder.client():
            return rented(Emulator(_last_port(folder), root_key(folder.state)), STAGE), ""
        if not asleep or not snapshot.is_stored(folder.state):
            return [], ""
        _stop(folder, leave_machines=True)
        snapshot.recover(folder.state)
        emulator = Emulator(_port(0), root_key(folder.state))
        _emulate(folder, emulator)
        try:
            _await(folder, "control-plane", f"{emulator.url}{HEALTH}")
            return rented(emulator, STAGE), ""
        finally:
            daemons.stop(folder.pid("control-plane"), within_s=STOP_S["control-plane"])
    except (InsideError, LocalError) as error:
        return [], str(error)


def _refusal(left: list[Rented], unknown: str) -> str:
    if unknown:
        return f"not erased: {unknown}\nwhat is rented at providers cannot be told. {FORCE}"
    lines = "".join(f"\n  {each}" for each in left)
    return f"not erased: {len(left)} rented at providers, which nobody would end any more:{lines}\n{END_THEM}. {FORCE}"


def _farewell(left: list[Rented], unknown: str, *, erased: bool) -> list[str]:
    """What the one who goes should know of what stays."""
    if unknown:
        return [f"what is rented at providers could not be told, and bills if there is anything: {unknown}"]
    if not left:
        return []
    nobody = "nothing ends them" if erased else "while it is down, nothing ends them"
    return [f"{len(left)} rented at providers, billing on; {nobody}:", *(f"  {each}" for each in left)]


def _start(folder: Folder, options: Options, settings: dict[str, str], say: Say) -> dict[str, str]:
    if not snapshot.recover(folder.state):
        say(LOST.format(owner=folder.owner()))
    if kept := sorted(settings.keys() - options.settings.keys()):
        listed = ", ".join(f"{name}={settings[name]}" for name in kept)
        say(f"settings of the last time: {listed} (--set NAME= clears one)")
    last = _last_port(folder)
    port = _port(last or PORT if options.port is None else options.port)
    if last and port != last and any(path.is_dir() for path in folder.machines.iterdir()):
        say(f"machines of the last time look for port {last} and will not find this control plane")
    cloud_port = _cloud_port(port, options.cloud_port)
    cloud = {"TIDEPOOL_LOCAL_CLOUD_URL": f"http://127.0.0.1:{cloud_port}"}
    cloud["TIDEPOOL_LOCAL_CLOUD_KEY"] = folder.secret("cloud-key")
    emulator = Emulator(port, root_key(folder.state))
    say(f"starting the emulator (127.0.0.1:{port}) and the local cloud (127.0.0.1:{cloud_port})")
    _forget_streams(folder)
    _emulate(folder, emulator, "--api-requests", str(options.api_requests), "--wait-scale", str(options.wait_scale))
    machines = ("--port", str(cloud_port), "--state", str(folder.machines), "--poweron")
    _launch(folder, "cloud", "infra.local.cloud", *machines, secrets=cloud)

    package = packaged(folder.build, STAGE, schedules=options.schedules, say=say)
    _await(folder, "control-plane", f"{emulator.url}{HEALTH}")
    stack = _deployed(emulator, package, say)
    client = {"TIDEPOOL_URL": api_url(emulator, stack["RestAPIId"])}
    public = {"TIDEPOOL_PUBLIC_URL": client["TIDEPOOL_URL"], "TIDEPOOL_OWNER": folder.owner()}
    _configure(emulator, package, public | cloud | settings)
    pump = ("--port", str(port), "--state", str(folder.state), "--template", str(package.template))
    _launch(folder, "pump", "infra.local.pump", *pump, "--ttl-lag", options.ttl_lag)
    say("warming the functions")
    known = folder.client().get("TIDEPOOL_TOKEN", "")
    client |= {"TIDEPOOL_TOKEN": _seed_and_warm(emulator, known), "TIDEPOOL_PROJECT": PROJECT}
    _try(client)
    _await(folder, "cloud", f"{cloud['TIDEPOOL_LOCAL_CLOUD_URL']}/types")
    folder.write_client(client | cloud)
    return client | cloud


def _last_port(folder: Folder) -> int:
    """The port that machines and clients of this folder know, or 0."""
    address = folder.client().get("TIDEPOOL_URL", "")
    return urllib.parse.urlsplit(address).port or 0


def _cloud_port(port: int, wanted: int | None) -> int:
    """The port that was asked for, else the one after the control plane's, else any free one: no machine knows it."""
    if wanted is not None:
        return _port(wanted)
    try:
        return _port(port + 1)
    except LocalError:
        return _port(0)


def _port(wanted: int) -> int:
    """Return a port that is free now. Raises `LocalError` when the one wanted is not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise LocalError(f"port {wanted} is in use: choose another, make up ARGS='--port N'") from error
        return int(probe.getsockname()[1])


def _forget_streams(folder: Folder) -> None:
    """A new emulator numbers its streams anew and unpacks the functions' code anew."""
    (folder.state / "checkpoints.json").unlink(missing_ok=True)
    shutil.rmtree(folder.state / "tmp", ignore_errors=True)


def _emulate(folder: Folder, emulator: Emulator, *limits: str) -> None:
    place = ("--port", str(emulator.port), "--state", str(folder.state))
    _launch(folder, "control-plane", "infra.local.emulator", *place, *limits)


def _launch(folder: Folder, part: str, module: str, *arguments: str, secrets: dict[str, str] | None = None) -> None:
    log = folder.log(part)
    if log.exists():
        log.replace(log.with_suffix(".old"))
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | (secrets or {})
    daemons.start(folder.pid(part), [sys.executable, "-m", module, *arguments], cwd=ROOT, log=log, environ=environ)


def _await(folder: Folder, part: str, url: str) -> None:
    """Wait until a part answers anything at all."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if not daemons.running(folder.pid(part)):
                raise LocalError(f"{part} ended at once; see {folder.log(part)}") from None
            time.sleep(POLL_S)
        else:
            return
    raise LocalError(f"{part} does not answer after {START_S:.0f} s; see {folder.log(part)}")


def _deployed(emulator: Emulator, package: Localised, say: Say) -> dict[str, str]:
    """Deploy unless just this is what the emulator came back with; return the stack's outputs."""
    if not is_deployed(emulator, STACK, package):
        say("deploying")
        return deploy(emulator, STACK, package)
    return outputs(emulator.client, STACK)


def _configure(emulator: Emulator, package: Localised, settings: dict[str, str]) -> None:
    """Give every function the settings that are known only now: the API's address is one of the stack's outputs."""
    template = json.loads(package.template.read_text())
    given = template["Globals"]["Function"]["Environment"]["Variables"]
    functions = emulator.client("lambda")
    for function in of_type(template, "AWS::Serverless::Function").values():
        name = function["FunctionName"]
        current = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        wanted = {key: value for key, value in current.items() if key in given} | settings
        if wanted != current:
            functions.update_function_configuration(FunctionName=name, Environment={"Variables": wanted})


def _seed_and_warm(emulator: Emulator, known_token: str) -> str:
    """Make the first token, and meanwhile start an environment of each function that reads a stream."""
    with ThreadPoolExecutor(WARM_AT_ONCE) as pool:
        token = pool.submit(seed, emulator, STAGE, known_token)
        list(pool.map(partial(_invoke, emulator), ("on-timer", "projector")))
        return token.result()


def _try(client: dict[str, str]) -> None:
    """Ask the API who we are. It starts an environment of the two functions that a client waits for."""
    headers = {"Authorization": f"Bearer {client['TIDEPOOL_TOKEN']}"}
    request = urllib.request.Request(f"{client['TIDEPOOL_URL']}/v1/me", headers=headers)
    try:
        urllib.request.urlopen(request, timeout=START_S).close()
    except OSError as error:
        raise LocalError(f"the API does not answer: {error}") from error


def _invoke(emulator: Emulator, function: str) -> None:
    """Call a function that reads a stream with no records."""
    answer: dict[str, Any] = emulator.client("lambda").invoke(
        FunctionName=f"{STACK}-{function}", Payload=b'{"Records": []}'
    )
    if answer.get("FunctionError"):
        raise LocalError(f"{function} does not start: {answer['Payload'].read().decode()}")


def _stop(folder: Folder, *, leave_machines: bool) -> list[str]:
    """Stop the parts in their order; return those that had to be killed."""
    killed = []
    for part in PARTS:
        if not daemons.stop(folder.pid(part), within_s=STOP_S[part]):
            killed.append(part)
        if part == "cloud" and not leave_machines:
            _power_off(folder)
    return killed


def _power_off(folder: Folder) -> None:
    """End the processes of every machine. The local cloud, which is not running, starts them again when it is."""
    known = folder.machines / "machines.json"
    machines = [each["id"] for each in json.loads(known.read_text()) if not each["gone"]] if known.exists() else []
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(processes.end, grace_s=POWER_OFF_S), machines))
