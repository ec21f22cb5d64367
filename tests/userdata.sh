#!/usr/bin/env bash
# Tests of the files that run on a server: userdata/webserver.sh, assets/check_webserver.py.
# Needs root. The user data runs in an overlay of this system, so that the system does not
# change, with stand-ins for dnf and systemctl, which show each call. (The dnf path runs with
# the real dnf and rpm in an instance, in tests/cloud/dnf.sh; the apt-get path with the real
# apt-get and nginx in the lab.)
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "tests/userdata.sh: $*" >&2
    exit 1
}

if [ "${1-}" != inside ]; then
    shellcheck userdata/*.sh tests/userdata.sh tests/run tests/lab/boot.sh \
        tests/lab/root/usr/bin/* tests/lab/root/usr/sbin/* tests/lab/root/usr/local/sbin/*
    scratch=$(mktemp -d)
    trap 'rmdir "$scratch"' EXIT
    unshare --mount --propagation private bash tests/userdata.sh inside "$scratch"
    echo "userdata: ok (with a stand-in for dnf)"
    exit
fi
scratch=$2

# The user data on a system with dnf.
mount -t tmpfs tmpfs "$scratch"
mkdir -p "$scratch"/{upper/stand-in,work,root}
cat >"$scratch/upper/stand-in/dnf" <<'STAND_IN'
#!/bin/sh
# Fails for a call that contains $REFUSE.
echo "${0##*/} $*" >>/calls
case "${REFUSE:+$*}" in *"${REFUSE:-.}"*) exit 1 ;; esac
STAND_IN
chmod +x "$scratch/upper/stand-in/dnf"
cp "$scratch/upper/stand-in/dnf" "$scratch/upper/stand-in/systemctl"
cp userdata/webserver.sh "$scratch/upper/webserver.sh"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" \
    overlay "$scratch/root"
root=$scratch/root
page=$root/usr/share/nginx/html/index.html

run() { # VARIABLE=VALUE...: runs the user data; its output is in $output
    rm -f "$root/calls"
    output=$(chroot "$root" /usr/bin/env -i PATH=/stand-in:/usr/bin:/bin "$@" \
        /bin/sh /webserver.sh 2>&1)
}

calls="dnf -y upgrade
dnf -y install nginx python3
systemctl enable --now nginx
systemctl is-active --quiet nginx"
for _ in first again; do
    run || fail "the user data failed: $output"
    [ "$(cat "$root/calls")" = "$calls" ] || fail "other calls: $(cat "$root/calls")"
    sed "1,/<<'HTML'/d; /^HTML\$/,\$d" userdata/webserver.sh | cmp - "$page"
    grep -q "this AMI's release" <<<"$output" || fail "does not name the patches: $output"
done
for name in '{{ title | e }}' '<img src="{{ picture | e }}"'; do
    grep -qF "$name" "$page" || fail "the page lacks $name"
done

rm "$page"
for call in upgrade install; do
    run REFUSE="$call" && fail "a failing dnf $call was not noticed"
    [ ! -e "$page" ] || fail "continued after a failing dnf $call"
done
for call in enable is-active; do
    run REFUSE="$call" && fail "a failing systemctl $call was not noticed"
done
run PATH=/nowhere && fail "succeeded without dnf and apt-get"
grep -q "not supported" <<<"$output" || fail "the output names no reason: $output"

# The check of the web server.
check() { # STATUS TEXT ARGUMENT...: the output must be one line with TEXT
    local status=0 expected=$1 text=$2
    shift 2
    output=$(python3 assets/check_webserver.py "$@" 2>&1) || status=$?
    [ "$status" = "$expected" ] || fail "check $*: exit status $status: $output"
    [ "$(wc -l <<<"$output")" = 1 ] || fail "check $*: not one line: $output"
    [[ $output == *"$text"* ]] || fail "check $*: $output"
}

mkdir "$scratch/site"
echo "a page" >"$scratch/site/index.html"
coproc python3 -u - "$scratch/site" <<'SERVER'
import functools, http.server, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
handler = functools.partial(Quiet, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port)
server.serve_forever()
SERVER
server=$COPROC_PID
read -r port <&"${COPROC[0]}"
name=$(cat "/proc/$server/comm")
up=(--process "$name" --port "$port")
check 0 "ok: $name is running, port $port is listening, / answered 200 in" "${up[@]}"
check 0 "ok: " "${up[@]}" --contains "a page"
check 1 "down: / does not contain 'another'" "${up[@]}" --contains another
check 1 "down: /missing answered 404" "${up[@]}" --path /missing
check 1 "down: no process named no-such is running" --process no-such --port "$port"
check 2 "usage: " --port none
check 2 "usage: " --no-such-option
kill "$server"
wait "$server" 2>/dev/null || true
check 1 "down: nothing is listening on port $port" --process bash --port "$port"
