#!/bin/bash
# Calls the programs of an init system in an instance as scripts on a server do, as the
# login user with sudo. Fails at the first answer that differs from systemd's.
set -u

fail() {
    echo "instance_programs.sh: $*" >&2
    exit 1
}

# expect STATUS PATTERN COMMAND..: runs it; its output must match the pattern.
expect() {
    local status=0 wanted=$1 pattern=$2
    shift 2
    # Debian's sudo warns after a change of the name, as on a server.
    output=$("$@" 2>&1 | grep -v "^sudo: unable to resolve host"; exit "${PIPESTATUS[0]}") || status=$?
    [ "$status" = "$wanted" ] || fail "$*: exit status $status: $output"
    # shellcheck disable=SC2053 # it is a pattern
    [[ $output == $pattern ]] || fail "$*: no match for '$pattern': $output"
}

# eventually COMMAND..: waits until it succeeds.
eventually() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || fail "never succeeded: $*"
        sleep 0.05
    done
}
shown() { # PATTERN COMMAND..: waits for output with the text
    local text=$1
    shift
    # shellcheck disable=SC2016 # that shell expands it
    eventually sh -c '"$@" | grep -q -e "$0"' "$text" "$@"
}

names() {
    local old
    old=$(cat /etc/hostname)
    [[ $old == ip-* ]] || fail "the name is $old"
    expect 0 "$old" hostname
    expect 0 "$old" hostnamectl hostname
    expect 0 "*Static hostname: $old*Virtualization: amazon*Operating System: *" hostnamectl
    expect 0 "*Static hostname: $old*" hostnamectl status
    expect 0 "amazon" systemd-detect-virt
    expect 1 "none" systemd-detect-virt --container
    expect 1 "Could not set static hostname: Interactive authentication required." \
        hostnamectl set-hostname other
    expect 0 "" sudo hostnamectl set-hostname web-1.example.com
    expect 0 "web-1.example.com" hostname
    expect 0 $'web-1.example.com\nweb-1.example.com' cat /etc/hostname /proc/sys/kernel/hostname
    expect 0 "web-1.example.com" uname -n
    expect 0 "web-1.example.com" hostnamectl --static
    expect 0 "" hostnamectl --pretty
    expect 0 "" sudo hostnamectl set-hostname "Ada's Server"
    expect 0 "AdasServer" hostname
    expect 0 "Ada's Server" hostnamectl --pretty status
    expect 0 "" sudo hostnamectl hostname --transient moment
    expect 0 "moment" hostname
    expect 0 "AdasServer" cat /etc/hostname
    expect 0 "" sudo hostname other
    expect 0 "other" hostname
    expect 1 "hostname: you must be root *" hostname third
    expect 1 "hostname: the specified hostname is invalid" sudo hostname a..b
    expect 1 "Could not set static hostname: Invalid static hostname '...'" \
        sudo hostnamectl set-hostname --static ...
    expect 0 "10.*" hostname -I
    expect 1 "*does not support \`chassis\`*autorun docs local-cloud*" \
        sudo hostnamectl chassis server
    expect 0 "" sudo hostnamectl set-hostname kept
}

clock() {
    expect 0 "*Local time: *UTC*Time zone: *UTC*NTP service: n/a*" timedatectl
    expect 1 "Failed to set time zone: Interactive *" timedatectl set-timezone UTC
    expect 0 "" sudo timedatectl set-timezone Europe/Berlin
    expect 0 "Europe/Berlin" timedatectl show -p Timezone --value
    expect 0 "Timezone=Europe/Berlin" timedatectl show --property=Timezone
    expect 0 "*Time zone: Europe/Berlin (CE*" timedatectl status
    expect 0 "CE*T" date +%Z
    expect 0 "../usr/share/zoneinfo/Europe/Berlin" readlink /etc/localtime
    [ ! -e /etc/timezone ] || expect 0 "Europe/Berlin" cat /etc/timezone
    for zone in Europe Europe/Nowhere ../../../etc/passwd ""; do
        expect 1 "Failed to set time zone: Invalid or not installed time zone '$zone'" \
            sudo timedatectl set-timezone "$zone"
    done
    expect 0 "*Europe/Berlin*" timedatectl list-timezones --no-pager
    expect 1 "*NTP not supported*autorun docs local-cloud*" sudo timedatectl set-ntp true
    expect 1 "*does not support \`set-time\`*" sudo timedatectl set-time 12:00
    expect 0 "" sudo timedatectl set-timezone Etc/UTC
}

service() {
    # All on one stream: two have no common order.
    sudo tee /etc/systemd/system/talk.service >/dev/null <<'UNIT'
[Unit]
Description=Talks
[Service]
ExecStart=/bin/sh -c 'echo one; echo "<3>bad"; echo two; exec sleep 600'
UNIT
    expect 0 "-- No entries --" journalctl -u talk --no-pager
    expect 0 "" sudo systemctl start talk
    shown two journalctl -u talk -o cat
    expect 0 $'Started talk.service - Talks.\none\nbad\ntwo' journalctl -u talk -o cat
    expect 0 "??? ?? ??:??:?? kept systemd[[]1]: Started talk.service - Talks.
??? ?? ??:??:?? kept sh[[]*]: one*" journalctl --no-pager -u talk.service
    expect 0 "bad" journalctl -u talk -p err -o cat
    expect 0 "two" journalctl -n1 -o cat -u talk
    expect 0 $'two\nbad' journalctl -n 2 -r -o cat -u talk
    expect 0 "*two" journalctl -xeu talk --no-pager -b
    expect 0 "*two*" journalctl -u talk --since "1 min ago"
    expect 0 "-- No entries --" journalctl -u talk --since tomorrow
    expect 0 "" journalctl -q -u talk --until yesterday
    expect 0 '{*"_SYSTEMD_UNIT":"talk.service"*}' journalctl -u talk -o json -n 1
    expect 0 "*kept sh[[]*]: two*" systemctl status talk
    expect 0 "" sudo systemctl stop talk
    expect 0 "*Stopping talk.service - Talks...*Stopped talk.service - Talks." \
        journalctl -u talk -o cat
    expect 1 "*sshd.service is a part of the local cloud*" journalctl -u sshd
    expect 1 "*does not support \`--vacuum-time\`*" sudo journalctl --vacuum-time=1s
    expect 1 "*does not support \`--dmesg\`*" journalctl -k

    # Programs that write to the journal.
    expect 0 "" logger -t backup -p user.warning "it is late"
    shown late journalctl -t backup -p warning -o cat
    if command -v systemd-cat >/dev/null; then
        expect 0 "" systemd-cat -t cat -p err echo "by systemd-cat"
        shown "by systemd-cat" journalctl -t cat -p err
    fi
    if logger --help | grep -q journald; then
        expect 0 "" logger --journald <<<$'MESSAGE=native\nPRIORITY=4\nSYSLOG_IDENTIFIER=own'
        shown native journalctl -t own -o cat
    fi

    # It continues to print what is new.
    journalctl -f -t later -o cat >/tmp/followed &
    local follower=$!
    logger -t later "first of all"
    shown "first of all" cat /tmp/followed
    kill "$follower"

    # Only administrators read the messages of others.
    expect 1 "*insufficient permissions*" sudo -u "#65534" journalctl
}

verbs() {
    sudo mkdir -p /opt/app
    sudo tee /opt/app/app.service >/dev/null <<'UNIT'
[Unit]
Description=An app
[Service]
ExecStart=/bin/sh -c 'trap "echo reloaded \$GREETING" HUP; touch /run/app.ready; echo ready >&2; while :; do sleep 0.1; done'
[Install]
WantedBy=multi-user.target
UNIT
    expect 0 "*/app.service → /opt/app/app.service*" sudo systemctl enable /opt/app/app.service
    expect 0 "enabled" systemctl is-enabled app
    expect 0 "" sudo systemctl set-environment GREETING=hello
    expect 0 "*GREETING=hello*" systemctl show-environment
    expect 0 "" sudo systemctl start app
    shown ready journalctl -u app
    # Before the shell is ready, the signal would end it.
    # shellcheck disable=SC2016 # that shell expands it
    eventually sh -c 'systemctl is-active app ||
            { sudo rm -f /run/app.ready; sudo systemctl start app; exit 1; }
        [ -e /run/app.ready ] || exit 1
        sudo systemctl kill -s HUP app; journalctl -u app | grep -q "reloaded hello"'
    expect 0 "app.service loaded active running An app" \
        systemctl list-units --type=service --state=running --no-legend --plain 'app*'
    expect 0 "" sudo systemctl stop app
    expect 0 "" sudo systemctl unset-environment GREETING
    expect 1 "Failed to kill unit none.service: Unit none.service not loaded." \
        sudo systemctl kill none
    expect 0 "running" systemctl is-system-running
    # Debian's own scripts call systemctl.
    expect 0 "" sudo service app start
    expect 0 "active" systemctl is-active app
    expect 0 "*loaded*active*running*" sudo service app status
    expect 0 "*" sudo service app stop
    expect 3 "inactive" systemctl is-active app
    if command -v invoke-rc.d >/dev/null; then
        expect 0 "*" sudo invoke-rc.d app start
        expect 0 "active" systemctl is-active app
    fi
    expect 0 "*" sudo shutdown -r +10
    expect 0 "" sudo shutdown -c
    expect 1 "*does not support \`3\`*" sudo telinit 3
    printf '[Service]\nType=oneshot\nExecStart=/bin/false\n' |
        sudo tee /etc/systemd/system/bad.service >/dev/null
    expect 1 "Job for bad.service failed *journalctl -xeu bad.service*" sudo systemctl start bad
    expect 1 "degraded" systemctl is-system-running
    expect 0 "*bad.service*failed*failed*" systemctl --failed
    expect 0 "*bad.service: Failed with result 'exit-code'.*" journalctl -u bad -p warning
    expect 0 "" sudo systemctl reset-failed bad
    expect 0 "No jobs running." systemctl list-jobs
    expect 0 "multi-user.target" systemctl get-default
    expect 0 "0" systemctl show -p NFailedUnits --value
    for verb in edit set-property list-timers preset-all import-environment; do
        expect 1 "systemctl: *does not support \`$verb\`*" sudo systemctl "$verb" app
    done
    expect 1 "Failed to connect to bus: No medium found*" systemctl --user start app
    expect 1 "*does not support \`--root=/x\`*" sudo systemctl --root=/x enable app
}

others() {
    for program in loginctl localectl resolvectl systemd-run busctl; do
        if command -v "$program" >/dev/null; then
            expect 1 "$program: *does not support this program: *autorun docs local-cloud*" \
                sudo "$program" true
        fi
    done
    expect 0 "N 5" runlevel
    # The kernel is not the instance's own.
    for call in "mount -t tmpfs none /mnt" "swapon /etc/hostname" "sysctl -w vm.swappiness=1" \
        "date -s 12:00" "dmesg" "nft list ruleset" "modprobe loop" "ufw enable"; do
        # shellcheck disable=SC2086 # it is a command and its arguments
        command -v ${call%% *} >/dev/null && sudo $call >/dev/null 2>&1 && fail "$call succeeded"
    done
    true
}

after_reboot() {
    expect 0 "kept" hostname
    expect 0 "kept" hostnamectl --static
    expect 0 "*two*" journalctl -u talk -o cat
    expect 0 "-- No entries --" journalctl -u talk -b
}

case ${1-} in
    "") names && clock && service && verbs && others ;;
    *) "$1" ;;
esac
echo "instance_programs.sh: ok"
