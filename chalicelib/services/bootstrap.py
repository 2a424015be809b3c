"""The user data of a machine: a POSIX shell script that fetches the agent, checks it and runs it."""

import hashlib
import shlex
from functools import cache
from pathlib import Path
from typing import Final

from chalicelib.domain.model import Attempt, Instance
from chalicelib.domain.timers import instance_target
from chalicelib.services import tokens
from chalicelib.services.deps import Deps

PROGRAM: Final = Path(__file__).parent.parent / "agent" / "tidepool_agent.py"

START: Final = """\
import hashlib, os, sys, time, urllib.request
home, url = os.environ["TIDEPOOL_HOME"], os.environ["TIDEPOOL_URL"] + "/v1/agent/program"
path, wanted = os.path.join(home, "tidepool_agent.py"), "{sha256}"
def good():
    return os.path.exists(path) and hashlib.sha256(open(path, "rb").read()).hexdigest() == wanted
pause = 0.5
while not good():
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            program = answer.read()
        if hashlib.sha256(program).hexdigest() != wanted:
            raise ValueError("the agent that was served is not the one that was announced")
        with open(path + ".new", "wb") as file:
            file.write(program)
        os.replace(path + ".new", path)
    except Exception as error:
        print("cannot fetch the agent:", error, file=sys.stderr)
        time.sleep(pause)
        pause = min(pause * 2, 30)
os.execv(sys.executable, [sys.executable, "-I", path])
"""
"""Fetches the agent until it is the one that was announced, and becomes it."""

UNIT: Final = """\
[Unit]
Description=tidepool agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Environment="TIDEPOOL_URL=$TIDEPOOL_URL" "TIDEPOOL_HOME=$TIDEPOOL_HOME" "TIDEPOOL_NOTICE=$TIDEPOOL_NOTICE"
EnvironmentFile=-/run/tidepool.env
ExecStart=/usr/bin/env python3 $TIDEPOOL_HOME/start.py
Restart=on-failure
RestartSec=2
KillMode=process

[Install]
WantedBy=multi-user.target
"""
"""Starts the agent again after its end and after a reboot, and leaves jobs alone when it ends the agent."""

SCRIPT: Final = """\
#!/bin/sh
# Starts the tidepool agent. It only calls out; nothing listens on this machine.
set -u
supervised="${{TIDEPOOL_HOME:-}}"
export TIDEPOOL_URL={url}
export TIDEPOOL_BOOTSTRAP={token}
export TIDEPOOL_NOTICE={notice}
export TIDEPOOL_HOME="${{TIDEPOOL_HOME:-/var/lib/tidepool}}"
umask 077
mkdir -p "$TIDEPOOL_HOME" || exit 1
cat > "$TIDEPOOL_HOME/start.py" <<'END'
{start}END
# Whoever names a home restarts what ends there; elsewhere the service manager does. /run is memory: no secret on disk.
if [ -z "$supervised" ] && [ -d /run/systemd/system ]; then
    echo "TIDEPOOL_BOOTSTRAP=$TIDEPOOL_BOOTSTRAP" > /run/tidepool.env
    cat > /etc/systemd/system/tidepool-agent.service <<END
{unit}END
    systemctl daemon-reload && systemctl enable --quiet --now --no-block tidepool-agent.service && exit 0
fi
exec python3 "$TIDEPOOL_HOME/start.py"
"""


@cache
def program() -> tuple[bytes, str]:
    """Return the agent's bytes and their SHA-256 in hex."""
    content = PROGRAM.read_bytes()
    return content, hashlib.sha256(content).hexdigest()


def script(deps: Deps, row: Instance, attempt: Attempt, api_url: str, notice: str) -> str:
    """Write the user data of one attempt, with a bootstrap token that registers one agent, for this attempt only.

    `notice` is the backend's capability of that name: where the machine is told that it is taken back.
    """
    target = instance_target(row.project, row.pool, row.instance_id)
    token = tokens.issue_bootstrap(
        deps, project=row.project, instance=target, attempt_id=attempt.attempt_id, expires_at=attempt.deadline
    )
    return SCRIPT.format(
        url=shlex.quote(api_url),
        token=shlex.quote(token),
        notice=shlex.quote(notice),
        start=START.format(sha256=program()[1]),
        unit=UNIT,
    )
