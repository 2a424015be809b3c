# Takes away what install brought. The owner file goes last: as long as it is there, something may be left.
# A host that is not ours, any more or yet, is left alone. May be killed anywhere and repeated.

name=tidepool-uninstall

# another_agent: whether the files that lie here without an owner are those of another instance's agent.
another_agent() {
    grep -qs '"instance_id"' "$home/agent.json" && ! grep -qsF "\"instance_id\": \"$instance_id\"" "$home/agent.json"
}

main() {
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
    export PATH
    say "$name" 1
    [ "$(id -u)" = 0 ] || fail root 'this needs to run as root'
    [ -d "$etc" ] || left_over || finish absent 0
    know_timeout
    lock "$etc/lock"
    outcome=absent
    case $(whose) in
    # Somebody may have cleaned /etc, or made it anew.
    free) ! left_over || another_agent || outcome=removed ;;
    ours) outcome=removed ;;
    sibling) refuse owner-other-instance ;;
    foreign) refuse owner-foreign ;;
    esac
    if [ "$outcome" = removed ]; then
        remove_traces "$instance_id" || fail traces 'something of the agent could not be removed'
        rm -f "$owner"
    fi
    rm -f "$owner.new" "$etc/lock"
    rmdir "$etc" 2>/dev/null
    finish "$outcome" 0
}

main </dev/null
