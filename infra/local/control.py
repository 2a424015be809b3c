"""Bring the embedded control plane up and down.

`down` keeps everything: the tables and objects, and the machines, which are powered off and on again as by a reboot.
`kill -9` of the control plane loses what was written since its start, because the emulator stores its state at the end.
Machines at providers outside of this computer go on whatever happens here, so whoever stops or erases it is told.
"""

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from infra.deploy import outputs
from infra.local import daemons, snapshot
from infra.local.deploy import Emulator, api_url, deploy, is_deployed
from infra.local.emulator import API_REQUESTS, root_key
from infra.local.folder import PARTS, Folder
from infra.local.leaving import farewell, left_behind, refusal
from infra.local.localise import Localised, of_type, packaged
from infra.local.parts import (
    HEALTH,
    STACK,
    STAGE,
    START_S,
    STOP_S,
    LocalError,
    answers,
    emulate,
    free_port,
    last_port,
    launch,
    stop,
)
from infra.local.seed import PROJECT, seed

PORT: Final = 4577
WARM_AT_ONCE: Final = 2
"""Environments that start at once: each takes a core for a third of a second."""

LOST: Final = (
    "the control plane was killed before it had stored anything: its pools, tokens and backends are lost. Add the "
    "backends again, and the machines that they still have under the name {owner} are ended"
)
OWNER_STAYS: Final = "only the name that its machines bear is kept, for the next control plane here to know them by"
Say = Callable[[str], None]


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
        stop(folder, leave_machines=True)
        try:
            client = _start(folder, options, settings, say)
        except BaseException:
            stop(folder, leave_machines=True)
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
        left, unknown = left_behind(folder, asleep=erase)
        if erase and not force and (left or unknown):
            raise LocalError(refusal(left, unknown))
        killed = stop(folder, leave_machines=leave_machines and not erase)
        if erase:
            folder.erase()
    for part in killed:
        say(f"{part} did not end within {STOP_S[part]:.0f} s and was killed; what it had not stored is lost")
    say(f"erased; {OWNER_STAYS}" if erase else f"stopped; its state is kept in {folder.root}")
    for line in farewell(left, unknown, erased=erase):
        say(line)


def _settings(folder: Folder, given: Mapping[str, str]) -> dict[str, str]:
    """The settings of the last time with those given now; one given without a value is cleared."""
    return {name: value for name, value in {**folder.settings(), **given}.items() if value}


def _start(folder: Folder, options: Options, settings: dict[str, str], say: Say) -> dict[str, str]:
    if not snapshot.recover(folder.state):
        say(LOST.format(owner=folder.owner()))
    if kept := sorted(settings.keys() - options.settings.keys()):
        listed = ", ".join(f"{name}={settings[name]}" for name in kept)
        say(f"settings of the last time: {listed} (--set NAME= clears one)")
    last = last_port(folder)
    port = free_port(last or PORT if options.port is None else options.port)
    if last and port != last and any(path.is_dir() for path in folder.machines.iterdir()):
        say(f"machines of the last time look for port {last} and will not find this control plane")
    cloud_port = _cloud_port(port, options.cloud_port)
    cloud = {"TIDEPOOL_LOCAL_CLOUD_URL": f"http://127.0.0.1:{cloud_port}"}
    cloud["TIDEPOOL_LOCAL_CLOUD_KEY"] = folder.secret("cloud-key")
    emulator = Emulator(port, root_key(folder.state))
    say(f"starting the emulator (127.0.0.1:{port}) and the local cloud (127.0.0.1:{cloud_port})")
    _forget_streams(folder)
    emulate(folder, emulator, "--api-requests", str(options.api_requests), "--wait-scale", str(options.wait_scale))
    machines = ("--port", str(cloud_port), "--state", str(folder.machines), "--poweron")
    launch(folder, "cloud", "infra.local.cloud", *machines, secrets=cloud)

    package = packaged(folder.build, STAGE, schedules=options.schedules, say=say)
    answers(folder, "control-plane", f"{emulator.url}{HEALTH}")
    stack = _deployed(emulator, package, say)
    client = {"TIDEPOOL_URL": api_url(emulator, stack["RestAPIId"])}
    public = {"TIDEPOOL_PUBLIC_URL": client["TIDEPOOL_URL"], "TIDEPOOL_OWNER": folder.owner()}
    _configure(emulator, package, public | cloud | settings)
    pump = ("--port", str(port), "--state", str(folder.state), "--template", str(package.template))
    launch(folder, "pump", "infra.local.pump", *pump, "--ttl-lag", options.ttl_lag)
    say("warming the functions")
    known = folder.client().get("TIDEPOOL_TOKEN", "")
    client |= {"TIDEPOOL_TOKEN": _seed_and_warm(emulator, known), "TIDEPOOL_PROJECT": PROJECT}
    _try(client)
    answers(folder, "cloud", f"{cloud['TIDEPOOL_LOCAL_CLOUD_URL']}/types")
    folder.write_client(client | cloud)
    return client | cloud


def _cloud_port(port: int, wanted: int | None) -> int:
    """The port that was asked for, else the one after the control plane's, else any free one: no machine knows it."""
    if wanted is not None:
        return free_port(wanted)
    try:
        return free_port(port + 1)
    except LocalError:
        return free_port(0)


def _forget_streams(folder: Folder) -> None:
    """A new emulator numbers its streams anew and unpacks the functions' code anew."""
    (folder.state / "checkpoints.json").unlink(missing_ok=True)
    shutil.rmtree(folder.state / "tmp", ignore_errors=True)


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
