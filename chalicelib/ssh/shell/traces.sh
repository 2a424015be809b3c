# What install and uninstall share: saying how it goes, one at a time on a host, and taking away what is ours.
# The values of etc, home, owner, unit and boot are set by what precedes this text; so are control_plane and instance_id.

say() { printf '%s\t%s\n' "$1" "$2"; }

has() { command -v "$1" >/dev/null 2>&1; }

finish() {
    say outcome "$1"
    say end "$name"
    exit "$2"
}

fail() {
    say step "$1"
    say reason "$2"
    finish failed 1
}

refuse() {
    say reason "$1"
    under owner "$owner"
    finish refused 3
}

under() {
    [ -r "$2" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do say "$1" "$line"; done <"$2"
}

# locked FILE: hold it, on descriptor 9, until this shell ends. The lock is of the descriptor, so the program that takes
# it may go. A file that was removed while we waited is another one's past: begin again.
locked() {
    tries=0
    while [ "$tries" -lt 60 ]; do
        mkdir -p "$etc" && chmod 755 "$etc" || return 1
        exec 9>>"$1" || return 1
        if has python3; then
            python3 -I -c 'import fcntl, signal; signal.alarm(60); fcntl.flock(9, fcntl.LOCK_EX)' || return 1
        elif has flock; then
            flock 9 || return 1
        fi
        here=$(stat -c %i "$1" 2>/dev/null)
        held=$(stat -L -c %i /proc/self/fd/9 2>/dev/null)
        [ "$here" = "$held" ] && return 0
        exec 9>&-
        tries=$((tries + 1))
    done
    return 1
}

# field NAME: of the owner file, which is one JSON object that we wrote on one line.
field() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$owner" 2>/dev/null; }

# whose: free, ours, sibling (another instance of this control plane) or foreign.
whose() {
    if [ ! -e "$owner" ]; then
        printf free
    elif [ "$(field control_plane)" != "$control_plane" ]; then
        printf foreign
    elif [ "$(field instance_id)" != "$instance_id" ]; then
        printf sibling
    else
        printf ours
    fi
}

with_systemd() { [ -d /run/systemd/system ] && has systemctl; }

# ours_running: ids of the processes that carry our mark in the environment they were started with: the agent, its
# supervisors, the jobs and whatever detached itself from those. Not this shell, whose variables are not exported.
ours_running() {
    if printf 'a\0b\0' | grep -qzxF b 2>/dev/null; then # GNU's reads them all at once
        grep -lszxF "TIDEPOOL_MARK=$home" /proc/[0-9]*/environ | sed -n 's|^/proc/\([0-9]*\)/environ$|\1|p' | tr '\n' ' '
        return 0
    fi
    for environ in /proc/[0-9]*/environ; do
        if { tr '\0' '\n' <"$environ" | grep -qxF "TIDEPOOL_MARK=$home"; } 2>/dev/null; then
            process=${environ#/proc/}
            printf '%s ' "${process%/environ}"
        fi
    done
}

stop_agent() {
    if with_systemd && [ -e "$unit" ]; then
        systemctl disable --now "${unit##*/}" 2>/dev/null || systemctl stop "${unit##*/}" 2>/dev/null
    fi
    rm -f "$home/keep" 2>/dev/null # without it the loop that stands for a service manager ends with its agent
}

# remove_traces INSTANCE: everything of an instance but the owner file, which says so long that something may be left.
remove_traces() {
    stop_agent
    tries=0
    while left=$(ours_running) && [ -n "$left" ] && [ "$tries" -lt 20 ]; do
        for process in $left; do kill -9 "$process" 2>/dev/null; done
        tries=$((tries + 1))
        [ "$tries" -eq 1 ] || sleep 0.2 2>/dev/null || sleep 1
    done
    [ -z "$left" ] || return 1
    if has docker && [ -n "$1" ]; then
        containers=$(docker ps -aq --filter "label=tidepool.instance=$1" 2>/dev/null)
        # shellcheck disable=SC2086 # one argument for each
        [ -z "$containers" ] || docker rm --force --volumes $containers >/dev/null 2>&1 || return 1
    fi
    remove_start
    rm -rf "$home"
    [ ! -e "$home" ]
}

# remove_start: what starts the agent at boot.
remove_start() {
    if [ -e "$unit" ]; then
        rm -f "$unit"
        if with_systemd; then
            systemctl daemon-reload
            systemctl reset-failed "${unit##*/}" 2>/dev/null
        fi
    fi
    rm -f "$boot" "$unit.new" # the latter where an installation was killed between two lines
    if has crontab && crontab -l 2>/dev/null | grep -qF "$home/start.sh"; then
        rest=$(crontab -l 2>/dev/null | grep -vF "$home/start.sh")
        if [ -n "$rest" ]; then
            printf '%s\n' "$rest" | crontab -
        else
            crontab -r
        fi
    fi
    return 0
}
