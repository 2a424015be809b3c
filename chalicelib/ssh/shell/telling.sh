# What all scripts share: saying what they find and do, and running a command with a time limit.

say() { printf '%s\t%s\n' "$1" "$2"; }

has() { command -v "$1" >/dev/null 2>&1; }

# under KEY FILE: its lines.
under() {
    [ -r "$2" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do say "$1" "$line"; done <"$2"
}

# know_timeout: which timeout(1) there is: one that kills what ends by no signal, one that does not, an old busybox's.
know_timeout() {
    timeout_style=
    has timeout || return 0
    if timeout -k 5 5 true 2>/dev/null; then
        timeout_style=killing
    elif timeout 5 true 2>/dev/null; then
        timeout_style=gnu
    elif timeout -t 5 true 2>/dev/null; then
        timeout_style=old
    fi
}

# limited SECONDS COMMAND...: with a time limit, also where there is no timeout(1). What was late ends with 124 or more,
# and, should it survive even that, does not hold the lock, which is on descriptor 9.
limited() {
    seconds=$1
    shift
    case $timeout_style in
    killing) timeout -k 5 "$seconds" "$@" 9>&- ;;
    gnu) timeout "$seconds" "$@" 9>&- ;;
    old) timeout -t "$seconds" "$@" 9>&- ;;
    *)
        "$@" 9>&- &
        started=$!
        (sleep "$seconds" && kill -9 "$started") >/dev/null 2>&1 9>&- &
        watcher=$!
        wait "$started" 2>/dev/null
        status=$?
        kill "$watcher" 2>/dev/null
        return "$status"
        ;;
    esac
}

