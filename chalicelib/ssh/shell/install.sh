# Makes the host ours and starts the agent. May be killed anywhere and repeated: what is done is done again, or seen.
# Set by what precedes this text: the paths, who we are, owner_json, take_over, replaces (an instance of ours that has
# ended, or nothing), url, token, python, agent_sha256, and agent_program (gzip, base64). The program's text holds a
# secret, so nothing of it goes on a command line: printf and here-documents are the shell's own.

name=tidepool-install

claim() {
    case $(whose) in
    free | ours) ;;
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
    printf "TIDEPOOL_BOOTSTRAP='%s'\n" "$token" >"$home/bootstrap.new" && mv -f "$home/bootstrap.new" "$home/bootstrap.env" ||
        fail files "$home/bootstrap.env cannot be written"
    printf '%s\n' "TIDEPOOL_URL='$url'" "TIDEPOOL_HOME='$home'" "TIDEPOOL_MARK='$home'" 'TIDEPOOL_POWEROFF=' \
        >"$home/agent.env" || fail files "$home/agent.env cannot be written"
    # The token is of no use once the agent has registered with it, and its file goes then: as soon as that is seen, or
    # at the agent's next start.
    cat >"$home/forget.sh" <<END
#!/bin/sh
# Removes the bootstrap token when the agent has registered: forget.sh [SECONDS to wait for that]
left=\${1:-0}
until grep -qs '"token_id"' $home/agent.json && rm -f $home/bootstrap.env; do
    [ "\$left" -gt 0 ] || exit 0
    left=\$((left - 1))
    sleep 1
done
END
    say did files
}

# Systemd ends the agent alone, so that jobs outlive its restarts; nothing powers off a machine that somebody owns.
write_unit() {
    cat >"$unit.new" <<END
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
    cat >"$home/start.sh" <<END
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
    end_alone
    : >"$home/keep"
    if [ -d "${boot%/*}" ]; then
        printf '#!/bin/sh\nTIDEPOOL_MARK=%s sh %s/start.sh </dev/null >/dev/null 2>&1 &\n' "$home" "$home" >"$boot" && chmod 755 "$boot"
        has rc-update && rc-update add local default >/dev/null 2>&1
        say boot openrc
    elif has crontab; then
        { crontab -l 2>/dev/null | grep -vF "$home/start.sh"; printf '@reboot TIDEPOOL_MARK=%s sh %s/start.sh\n' "$home" "$home"; } | crontab - ||
            fail start 'crontab refused the line that starts the agent at boot'
        say boot cron
    else
        say boot none
    fi
    detached env "TIDEPOOL_MARK=$home" sh "$home/start.sh"
    say did started
    say agent active
}

# end_alone: the loop of an earlier installation and its agent, and no job. An id may be another process's by now.
end_alone() {
    for kept in "$home/loop.pid" "$home/agent.pid"; do
        [ -r "$kept" ] && IFS= read -r process <"$kept" || continue
        { tr '\0' ' ' <"/proc/$process/cmdline" | grep -qF "$home/" && kill "$process"; } 2>/dev/null
    done
    return 0
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

main() {
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
    export PATH
    say "$name" 1
    [ "$(id -u)" = 0 ] || fail root 'this needs to run as root'
    locked "$etc/lock" || fail lock "$etc/lock could not be locked within a minute"
    claim
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
