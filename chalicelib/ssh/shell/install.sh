# Makes the host ours and starts the agent. May be killed anywhere and repeated: what is done is done again, or seen.
# Set by what precedes this text: the paths, who we are, owner_json, take_over, replaces (an instance of ours that has
# ended, or nothing), url, token, python, agent_sha256, and agent_program (gzip, base64). The program's text holds a
# secret, so nothing of it goes on a command line: printf and here-documents are the shell's own.

name=tidepool-install

claim() {
    case $(whose) in
    ours) ;;
    free)
        # Files without an owner are an earlier agent's. Its identity would win over the new token, and its containers
        # would go on beside the new agent, which does not know them.
        ! left_over || remove_traces "$(field instance_id "$home/agent.json")" ||
            fail claim 'what an earlier agent left could not be removed'
        ;;
    sibling) [ "$take_over" = yes ] || [ "$(field instance_id)" = "${replaces:-nobody}" ] || refuse owner-other-instance ;;
    foreign) [ "$take_over" = yes ] || refuse owner-foreign ;;
    esac
    case $(whose) in
    sibling | foreign)
        # The old owner's traces go first: killed in between, the host is still the old owner's, and this is repeated.
        remove_traces "$(field instance_id)" || fail claim 'the old agent could not be removed'
        say did took-over
        ;;
    esac
    if [ "$(whose)" != ours ]; then
        printf '%s\n' "$owner_json" >"$owner.new" || fail claim "$owner cannot be written"
        chmod 644 "$owner.new" && mv -f "$owner.new" "$owner" || fail claim "$owner cannot be written"
        say did claimed
    fi
}

# has_token: the agent of an earlier try has registered, or may have with its answer lost. It goes on with what it has:
# one agent registers for an instance, so with another token it would be a stranger.
has_token() {
    grep -qs '"token_id"' "$home/agent.json" || { [ -e "$home/agent.json" ] && [ -e "$home/bootstrap.env" ]; }
}

# end_earlier: the agent of an earlier try, and no job. Nothing registers while the token is chosen.
end_earlier() {
    if with_systemd; then
        [ ! -e "$unit" ] || limited 40 systemctl stop "${unit##*/}" || fail start 'systemctl stop failed'
    else
        end_alone
    fi
}

unpack() {
    umask 077
    mkdir -p "$home" && chmod 700 "$home" || fail files "$home cannot be made"
    printf '%s' "$agent_program" | "$python" -I -c 'import base64, gzip, hashlib, os, sys
program = gzip.decompress(base64.b64decode(sys.stdin.read()))
if hashlib.sha256(program).hexdigest() != sys.argv[2]:
    sys.exit("the agent that arrived is not the one that was sent")
with open(sys.argv[1] + ".new", "wb") as file:
    file.write(program)
    file.flush()
    os.fsync(file.fileno())
os.replace(sys.argv[1] + ".new", sys.argv[1])' "$home/tidepool_agent.py" "$agent_sha256" 2>"$home/unpack.err" ||
        fail files "$(tail -n 1 "$home/unpack.err")"
    rm -f "$home/unpack.err"
    has_token || { printf "TIDEPOOL_BOOTSTRAP='%s'\n" "$token" >"$home/bootstrap.new" && mv -f "$home/bootstrap.new" "$home/bootstrap.env"; } ||
        fail files "$home/bootstrap.env cannot be written"
    printf '%s\n' "TIDEPOOL_URL='$url'" "TIDEPOOL_HOME='$home'" "TIDEPOOL_MARK='$home'" 'TIDEPOOL_POWEROFF=' \
        >"$home/agent.env" || fail files "$home/agent.env cannot be written"
    # The token is of no use once the agent has registered with it, and its file goes then: as soon as that is seen, or
    # at the agent's next start.
    cat >"$home/forget.new" <<END || fail files "$home/forget.sh cannot be written"
#!/bin/sh
# Removes the bootstrap token when the agent has registered: forget.sh [SECONDS to wait for that]
left=\${1:-0}
until grep -qs '"token_id"' $home/agent.json && rm -f $home/bootstrap.env; do
    [ "\$left" -gt 0 ] || exit 0
    left=\$((left - 1))
    sleep 1
done
END
    mv -f "$home/forget.new" "$home/forget.sh" || fail files "$home/forget.sh cannot be written"
    say did files
}

# Systemd ends the agent alone, so that jobs outlive its restarts; nothing powers off a machine that somebody owns.
write_unit() {
    cat >"$unit.new" <<END || fail unit "$unit cannot be written"
[Unit]
Description=tidepool agent
Wants=network-online.target
After=network-online.target docker.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=$home/agent.env
EnvironmentFile=-$home/bootstrap.env
ExecStartPre=-/bin/sh $home/forget.sh
ExecStart=$python -I $home/tidepool_agent.py
Restart=always
RestartSec=5
KillMode=process
TimeoutStopSec=20
UMask=0077

[Install]
WantedBy=multi-user.target
END
    chmod 644 "$unit.new" && mv -f "$unit.new" "$unit" || fail unit "$unit cannot be written"
}

start_with_systemd() {
    write_unit
    systemctl daemon-reload || fail unit 'systemctl daemon-reload failed'
    systemctl enable "${unit##*/}" >/dev/null 2>&1 || fail unit 'systemctl enable failed'
    systemctl restart "${unit##*/}" || fail start "systemctl restart failed: $(systemctl is-failed "${unit##*/}")"
    say did started
    say agent "$(systemctl is-active "${unit##*/}")"
}

# Without systemd a loop restarts the agent, and cron or OpenRC starts the loop at boot.
start_alone() {
    cat >"$home/start.new" <<END || fail files "$home/start.sh cannot be written"
#!/bin/sh
# Starts the tidepool agent again whenever it ends, until $home/keep is gone.
echo \$\$ >$home/loop.pid
while [ -e $home/keep ]; do
    [ "\$(wc -c <$home/agent.log 2>/dev/null || echo 0)" -lt 1048576 ] || mv -f $home/agent.log $home/agent.log.1
    sh $home/forget.sh
    (
        set -a
        . $home/agent.env
        [ ! -e $home/bootstrap.env ] || . $home/bootstrap.env
        exec $python -I $home/tidepool_agent.py
    ) >>$home/agent.log 2>&1 &
    echo \$! >$home/agent.pid
    wait \$!
    [ ! -e $home/keep ] || sleep 5
done
END
    mv -f "$home/start.new" "$home/start.sh" || fail files "$home/start.sh cannot be written"
    end_alone
    if [ -d "${boot%/*}" ]; then
        printf '#!/bin/sh\nTIDEPOOL_MARK=%s sh %s/start.sh </dev/null >/dev/null 2>&1 &\n' "$home" "$home" >"$boot.new" &&
            chmod 755 "$boot.new" && mv -f "$boot.new" "$boot" || fail start "$boot cannot be written"
        has rc-update && rc-update add local default >/dev/null 2>&1
        say boot openrc
    elif has crontab; then
        { crontab -l 2>/dev/null | grep -vF "$home/start.sh"; printf '@reboot TIDEPOOL_MARK=%s sh %s/start.sh\n' "$home" "$home"; } | crontab - ||
            fail start 'crontab refused the line that starts the agent at boot'
        say boot cron
    else
        say boot none
    fi
    start_loop || fail start "$home/keep cannot be written"
    say did started
    say agent active
}

# end_alone: the loop of an earlier installation and its agent, and no job. An id may be another process's by now.
end_alone() {
    for kept in "$home/loop.pid" "$home/agent.pid"; do
        [ -r "$kept" ] && IFS= read -r process <"$kept" || continue
        tries=0
        while { tr '\0' ' ' <"/proc/$process/cmdline" | grep -qF "$home/"; } 2>/dev/null && [ "$tries" -lt 30 ]; do
            [ "$tries" -lt 25 ] && kill "$process" 2>/dev/null || kill -9 "$process" 2>/dev/null
            tries=$((tries + 1))
            sleep 0.2 2>/dev/null || sleep 1
        done
    done
    return 0
}

main() {
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
    export PATH
    say "$name" 1
    [ "$(id -u)" = 0 ] || fail root 'this needs to run as root'
    know_timeout
    lock "$etc/lock"
    claim
    end_earlier
    unpack
    if with_systemd; then
        start_with_systemd
    else
        start_alone
    fi
    detached env "TIDEPOOL_MARK=$home" sh "$home/forget.sh" 120
    finish installed 0
}

main </dev/null
