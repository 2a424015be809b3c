"""`crontab` of a lab's host: `-l`, `-r`, and `-` or a file. Source: crontab(1)."""

import os
import pwd
import sys

user = pwd.getpwuid(os.geteuid()).pw_name
path = f"/var/spool/cron/crontabs/{user}"
action = sys.argv[1] if len(sys.argv) > 1 else "-"
if action in {"-l", "-r"} and not os.path.exists(path):
    sys.stderr.write(f"no crontab for {user}\n")
    sys.exit(1)
if action == "-l":
    with open(path) as file:
        sys.stdout.write(file.read())
elif action == "-r":
    os.unlink(path)
else:
    text = sys.stdin.read() if action == "-" else open(action).read()  # noqa: SIM115 - the process ends here
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o600)
