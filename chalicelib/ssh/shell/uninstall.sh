# Takes away what install brought. The owner file goes last: as long as it is there, something may be left.
# A host that is not ours, any more or yet, is left alone. May be killed anywhere and repeated.

name=tidepool-uninstall

main() {
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
    export PATH
    say "$name" 1
    [ "$(id -u)" = 0 ] || fail root 'this needs to run as root'
    [ -d "$etc" ] || finish absent 0
    locked "$etc/lock" || fail lock "$etc/lock could not be locked within a minute"
    case $(whose) in
    free) outcome=absent ;;
    ours)
        remove_traces "$instance_id" || fail traces 'something of the agent could not be removed'
        outcome=removed
        rm -f "$owner"
        ;;
    sibling) refuse owner-other-instance ;;
    foreign) refuse owner-foreign ;;
    esac
    rm -f "$owner.new" "$etc/lock"
    rmdir "$etc" 2>/dev/null
    finish "$outcome" 0
}

main </dev/null
