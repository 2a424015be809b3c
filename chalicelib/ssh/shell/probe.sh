# What is there on a host? Prints `key<TAB>value` lines and changes nothing. POSIX sh: dash, busybox ash, bash.
# The values of api_url and home are set by what precedes this text. Read by `probe.parse`.
#
# A command's output is one line for each of its lines, all under the same key; its exit status follows under
# `<key>.exit`. All is inside of functions, called by the last line: a text that was cut on its way does nothing.
# Whatever reads standard input would eat the rest of the script, so nothing does.

# told KEY SECONDS COMMAND...: what it prints, both streams, at most 400 lines, and its exit status.
told() {
    key=$1 seconds=$2
    shift 2
    output=$(limited "$seconds" "$@" 2>&1)
    status=$?
    tell "$key" "$output"
    say "$key.exit" "$status"
    return "$status"
}

# tell KEY TEXT: a line for each line of TEXT.
tell() {
    [ -n "$2" ] || return 0
    count=0
    printf '%s\n' "$2" | while IFS= read -r line && [ "$count" -lt 400 ]; do
        say "$1" "$line"
        count=$((count + 1))
    done
}

# first FILE: its first line, in $line; nothing where it cannot be read. `read` needs no process, unlike `$(...)`, and
# each process costs a millisecond or two.
first() {
    line=
    [ -r "$1" ] && IFS= read -r line <"$1" 2>/dev/null
    return 0
}

# opening KEY FILE: the first line of a file.
opening() {
    first "$2"
    say "$1" "$line"
}

system() {
    first /proc/sys/kernel/hostname
    say hostname "${line:-$(uname -n)}"
    say kernel "$(uname -s)"
    first /proc/sys/kernel/osrelease
    say kernel_version "${line:-$(uname -r)}"
    say arch "$(uname -m)"
    under os /etc/os-release
    [ -r /etc/os-release ] || under os /usr/lib/os-release
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
    if [ -n "$libc" ]; then
        say libc "$libc"
    elif has ldd; then
        told libc 5 ldd --version
    fi
    opening boot_id /proc/sys/kernel/random/boot_id
    opening uptime /proc/uptime
    opening machine_id /etc/machine-id
    say user "$user"
    say uid "$uid"
    first /proc/1/comm
    init=$line
    [ -d /run/systemd/system ] && init=systemd
    say init "$init"
    [ "$init" = systemd ] && told init_version 5 systemctl --version
}

sizes() {
    say cpus "$(nproc 2>/dev/null || grep -c '^processor' /proc/cpuinfo 2>/dev/null)"
    opening cpu_max /sys/fs/cgroup/cpu.max
    first /sys/fs/cgroup/cpu/cpu.cfs_quota_us
    quota=$line
    first /sys/fs/cgroup/cpu/cpu.cfs_period_us
    say cpu_quota "$quota $line"
    while read -r name value _; do
        if [ "$name" = MemTotal: ]; then
            say memory_kib "$value"
            break
        fi
    done </proc/meminfo
    place=$home
    while [ ! -d "$place" ] && [ "$place" != / ]; do place=${place%/*} && place=${place:-/}; done
    say disk_path "$place"
    told disk 10 df -Pk "$place"
}

privileges() {
    if [ "$uid" = 0 ]; then
        say sudo root
    elif ! has sudo; then
        say sudo missing
    elif refused=$(limited 10 sudo -n true 2>&1); then
        say sudo yes
        root="sudo -n"
    else
        say sudo no
        tell sudo_error "$refused"
    fi
}

python_line='import sys
try:
    import ssl
    tls = "yes"
except ImportError:
    tls = "no"
print(sys.executable, "%d.%d.%d" % sys.version_info[:3], tls)'

# The system's own first: one in a home may go away with it. The others are asked only when none before fits.
pythons() {
    for name in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
        has "$name" || continue
        answer=$(limited 10 "$name" -I -c "$python_line" 2>/dev/null) || continue
        say python "$answer"
        case $answer in
        *' 3.'[4-7].* | *' no') ;;
        *)
            python=${answer%% *}
            break
            ;;
        esac
    done
}

addresses() {
    if has ip && found=$(ip -o addr show 2>/dev/null) && [ -n "$found" ]; then
        tell ip "$found"
    elif has ifconfig && found=$(limited 5 ifconfig -a 2>/dev/null) && [ -n "$found" ]; then
        tell ifconfig "$found"
    else
        under fib /proc/net/fib_trie
        under route /proc/net/route
        under if_inet6 /proc/net/if_inet6
    fi
    while read -r name destination _ _ _ _ _ mask _; do
        [ "$destination$mask" = 0000000000000000 ] && say default "$name"
    done 2>/dev/null </proc/net/route
    [ -r /proc/net/ipv6_route ] && while read -r destination length _ _ _ _ _ _ _ name; do
        [ "$destination$length" = 0000000000000000000000000000000000 ] && [ "$name" != lo ] && say default "$name"
    done </proc/net/ipv6_route
}

docker_facts() {
    has docker || return 0
    say docker "$(command -v docker)"
    told docker_client 10 docker --version
    [ "$uid" = 0 ] || [ -n "$root" ] || return 0
    told docker_root 20 $root docker info --format '{{json .}}'
}

docker_by_user() {
    [ "$uid" = 0 ] || ! has docker || told docker_user 20 docker info --format '{{json .}}'
}

graphics() {
    [ -r /proc/device-tree/compatible ] && case $(tr '\0' ' ' </proc/device-tree/compatible) in
    *nvidia,tegra*) say embedded nvidia ;;
    esac
    under driver /proc/driver/nvidia/version
    smi=nvidia-smi
    has nvidia-smi || for place in /usr/local/nvidia/bin /opt/nvidia/bin /usr/lib/wsl/lib; do
        [ -x "$place/nvidia-smi" ] && smi=$place/nvidia-smi
    done
    if has "$smi"; then
        columns=index,name,memory.total,driver_version,uuid
        rows=$(limited 30 "$smi" --query-gpu="$columns,mig.mode.current" --format=csv,noheader,nounits 2>&1)
        status=$?
        case $rows in
        *'not a valid field'*) # a driver before 450 knows no MIG
            rows=$(limited 30 "$smi" --query-gpu="$columns" --format=csv,noheader,nounits 2>&1)
            status=$?
            ;;
        esac
        tell gpu "$rows"
        say gpu.exit "$status"
        told banner 30 "$smi"
    fi
    # The bus is looked at where the driver does not tell of any GPU.
    [ "${status:-1}" = 0 ] && [ -n "${rows:-}" ] || bus
    for tool in nvidia-ctk nvidia-container-cli nvidia-container-runtime; do
        if has "$tool" || [ -x "/usr/bin/$tool" ]; then
            told toolkit 10 "$tool" --version
            break
        fi
    done
}

bus() {
    if has lspci; then
        limited 10 lspci -nn 2>/dev/null | while IFS= read -r line; do
            case $line in
            *NVIDIA* | *10de:*) say pci "$line" ;;
            esac
        done
        return 0
    fi
    for device in /sys/bus/pci/devices/*; do
        first "$device/vendor"
        [ "$line" = 0x10de ] || continue
        first "$device/class"
        class=$line
        first "$device/device"
        say pci "${device##*/} [$class] [10de:$line]"
    done
    return 0
}

python_fetch='import http.client, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
link = kind(url.hostname, url.port, timeout=10)
link.request("GET", url.path)
print(link.getresponse().status)'

# As the agent does it: through no proxy, following nothing, and trusting the certificates that its Python trusts. Plain
# HTTP has none, and curl starts faster.
api() {
    for name in http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; do
        eval "[ -n \"\${$name:-}\" ]" && say proxy "$name"
    done
    case $api_host in
    *:*) say dns 0 ;;
    *[!0-9.]*)
        if has getent; then
            limited 10 getent hosts "$api_host" >/dev/null 2>&1
            say dns "$?"
        elif has nslookup; then
            limited 10 nslookup "$api_host" >/dev/null 2>&1
            say dns "$?"
        fi
        ;;
    *) say dns 0 ;;
    esac
    tool=
    has curl && tool=curl
    [ -z "$python" ] || case $tool$api_url in curlhttp:*) ;; *) tool=python3 ;; esac
    url=$api_url/v1/health
    if [ "$tool" = curl ]; then
        say api_tool curl
        told api 15 curl -sS --noproxy '*' --connect-timeout 8 -m 12 -o /dev/null -w '%{http_code}\n' "$url"
    elif [ "$tool" = python3 ]; then
        say api_tool python3
        told api 15 "$python" -I -c "$python_fetch" "$url"
    elif has wget; then
        say api_tool wget
        told api 15 env -u http_proxy -u https_proxy wget -q -T 10 -O /dev/null "$url"
    fi
    return 0
}

ours() {
    if [ -e "$owner" ]; then
        say owner_file yes
        under owner "$owner"
    fi
    if [ -e "$unit" ]; then
        state=unknown
        has systemctl && state=$(limited 5 systemctl is-active tidepool-agent.service 2>/dev/null)
        say agent "${state:-unknown}"
    elif [ -d "$home" ]; then
        say agent files
    fi
    return 0
}

# The clock comes last, because it is held against the moment at which this output arrives.
moment() {
    now=$(date +%s%3N 2>/dev/null)
    case $now in
    '' | *[!0-9]*) now=$(date +%s)000 ;;
    esac
    [ "${#now}" -ge 13 ] || now=$(date +%s)000
    say clock_ms "$now"
}

main() {
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
    LC_ALL=C
    export PATH LC_ALL
    who=$(id) # `uid=1000(ubuntu) gid=…`, without the name where there is none
    uid=${who#uid=}
    uid=${uid%%[!0-9]*}
    user=${who#"uid=$uid("}
    user=${user%%[\) ]*}
    [ "${who#"uid=$uid("}" != "$who" ] || user=$uid
    root= python=
    know_timeout
    say tidepool-probe 1
    system
    sizes
    privileges
    pythons
    addresses
    docker_facts
    docker_by_user
    graphics
    api
    ours
    moment
    say end tidepool-probe
}

main </dev/null
