# What install and uninstall share: how they end, one at a time on a host, and taking away what is ours.
# The values of etc, home, owner, unit and boot are set by what precedes this text; so are control_plane and instance_id.

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

# lock FILE: hold it, on descriptor 9, until this shell ends. The lock is of the descriptor, so the program that takes
# it may go. A file that was removed while we waited is another one's past: begin again.
lock() {
    tries=0
    while [ "$tries" -lt 60 ]; do
        # Tried before `exec`, whose failure would end the shell without a word.
        { mkdir -p "$etc" && chmod 755 "$etc" && true >>"$1"; } 2>/dev/null ||
            fail lock "$1 cannot be written; the file system may be read-only or full"
        exec 9>>"$1"
        if has python3; then
            python3 -I -c 'import fcntl, signal; signal.alarm(60); fcntl.flock(9, fcntl.LOCK_EX)' || break
        elif has flock; then
            waited=0
            until flock -n 9 || [ "$waited" -ge 60 ]; do
                waited=$((waited + 1))
                sleep 1
            done
            [ "$waited" -lt 60 ] || break
        fi
        here=$(stat -c %i "$1" 2>/dev/null)
        held=$(stat -L -c %i /proc/self/fd/9 2>/dev/null)
        [ "$here" = "$held" ] && return 0
        exec 9>&-
        tries=$((tries + 1))
    done
    fail lock "$1 could not be locked within a minute"
}

# field NAME [FILE]: of the owner file, or another that is one JSON object that we wrote on one line.
field() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "${2:-$owner}" 2>/dev/null; }

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

# left_over: whether an agent, or a part of one, is there.
left_over() { [ -e "$home" ] || [ -e "$unit" ] || [ -e "$boot" ]; }

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

# detached COMMAND...: in a session of its own and with none of our descriptors; neither the lock nor the connection may
# stay open for it.
detached() {
    if has setsid; then
        setsid "$@" </dev/null >/dev/null 2>&1 9>&- &
    else
        nohup "$@" </dev/null >/dev/null 2>&1 9>&- &
    fi
}

# start_loop: what stands for a service manager.
start_loop() { : >"$home/keep" && detached env "TIDEPOOL_MARK=$home" sh "$home/start.sh"; }

# remove_traces INSTANCE: everything of an instance but the owner file, which says so long that something may be left.
# Where that fails, the agent is started again: it asks, is told to go, and tries again after a while.
remove_traces() {
    clear_away "$1" && return 0
    if [ ! -e "$home/tidepool_agent.py" ]; then
        return 1
    elif with_systemd && [ -e "$unit" ]; then
        limited 40 systemctl start "${unit##*/}" 2>/dev/null
    elif [ -e "$home/start.sh" ]; then
        start_loop
    fi
    return 1
}

# clear_away INSTANCE: what may fail comes first, and what starts the agent last: killed before that, or with the host
# restarted, there still is an agent that can be told to go.
clear_away() {
    if with_systemd && [ -e "$unit" ]; then
        limited 40 systemctl stop "${unit##*/}" 2>/dev/null
    fi
    tries=0
    while left=$(ours_running) && [ -n "$left" ] && [ "$tries" -lt 20 ]; do
        for process in $left; do kill -9 "$process" 2>/dev/null; done
        tries=$((tries + 1))
        [ "$tries" -eq 1 ] || sleep 0.2 2>/dev/null || sleep 1
    done
    [ -z "$left" ] || return 1
    remove_containers "$1" || return 1
    rm -rf "$home/jobs" 2>/dev/null || return 1
    remove_start
    rm -rf "$home"
    [ ! -e "$home" ]
}

# remove_containers INSTANCE: with "", where nothing says whose the traces are, those of every instance. Three tries,
# because somebody else may be removing the same at that moment. A daemon that does not answer in time may still run
# some; one that is not there runs none, unless its containers outlive it (`live-restore`).
remove_containers() {
    has docker || return 0
    tries=0
    while [ "$tries" -lt 3 ]; do
        [ "$tries" -eq 0 ] || sleep 1
        tries=$((tries + 1))
        containers=$(limited 10 docker ps -aq --filter "label=tidepool.instance${1:+=$1}" 2>/dev/null)
        answer=$?
        [ "$answer" -lt 124 ] || return 1
        [ "$answer" -eq 0 ] || continue
        [ -n "$containers" ] || return 0
        # shellcheck disable=SC2086 # one argument for each
        limited 30 docker rm --force --volumes $containers >/dev/null 2>&1 && return 0
        [ "$?" -lt 124 ] || return 1
    done
    [ "$answer" -ne 0 ] && ! outlived
}

# outlived: whether a container of Docker runs, as the process that containerd starts for each says, daemon or not.
outlived() { has pgrep && pgrep -f 'containerd-shim[^ ]* -namespace moby ' >/dev/null; }

# remove_start: what starts the agent at boot.
remove_start() {
    rm -f "$home/keep"
    if [ -e "$unit" ]; then
        with_systemd && limited 40 systemctl disable "${unit##*/}" 2>/dev/null
        rm -f "$unit"
        if with_systemd; then
            systemctl daemon-reload
            systemctl reset-failed "${unit##*/}" 2>/dev/null
        fi
    fi
    rm -f "$boot" "$boot.new" "$unit.new" # the latter where an installation was killed between two lines
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

