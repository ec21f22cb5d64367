#!/bin/bash
# Runs userdata/webserver.sh with the real dnf and rpm, as root in an instance of the
# local cloud: dnf.sh prepare|check|check_after_reboot. The packages come from a small
# repository that this script makes. Fails at the first difference.
set -euo pipefail
repo=/srv/repo
page=/usr/share/nginx/html/index.html

fail() {
    echo "dnf.sh: $*" >&2
    exit 1
}

# package NAME VERSION [REQUIRED] < SPEC: builds a package into the repository.
package() {
    local spec=/tmp/$1.spec
    {
        printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: A test\nLicense: MIT\n' "$1" "$2"
        printf '%s' "${3:+Requires: $3}"
        printf '\nBuildArch: noarch\n%%description\nA test.\n'
        cat
    } >"$spec"
    rpmbuild -bb --quiet --define "_rpmdir $repo" "$spec" 2>/tmp/rpmbuild.log ||
        fail "$(cat /tmp/rpmbuild.log)"
}
empty() {
    echo "%files" | package "$@"
}

prepare() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends dnf rpm createrepo-c \
        dnf-plugins-core >/dev/null
    # A plugin of Debian's package, which Amazon Linux does not have.
    sed -i 's/^enabled.*/enabled = false/' /etc/dnf/plugins/local.conf
    mkdir -p "$repo" /etc/yum.repos.d
    sources "file://$repo"
    # As after the launch of an image that has no patches yet.
    empty glibc 2.34
    empty tzdata 2025
    createrepo_c -q "$repo"
    output=$(dnf -y install glibc tzdata 2>&1) || fail "$output"
    [ "$(rpm -q glibc)" = glibc-2.34-1.noarch ] || fail "glibc was not installed: $output"
    # The patches, and a web server whose page is a link into another package's files,
    # as on Amazon Linux.
    empty glibc 2.35
    empty python3 3.9
    package system-logos 1 <<'SPEC'
%install
mkdir -p %{buildroot}/usr/share/testpage
echo "test page" >%{buildroot}/usr/share/testpage/index.html
%files
/usr/share/testpage/index.html
SPEC
    package nginx 1.26 system-logos <<'SPEC'
%install
mkdir -p %{buildroot}/usr/share/nginx/html %{buildroot}/usr/lib/systemd/system
ln -s ../../testpage/index.html %{buildroot}/usr/share/nginx/html/index.html
cat >%{buildroot}/usr/lib/systemd/system/nginx.service <<'UNIT'
[Unit]
Description=The nginx HTTP and reverse proxy server
[Service]
ExecStart=/usr/bin/python3 -m http.server --directory /usr/share/nginx/html 80
[Install]
WantedBy=multi-user.target
UNIT
%files
/usr/share/nginx/html/index.html
/usr/lib/systemd/system/nginx.service
SPEC
    createrepo_c -q "$repo"
}

# sources URL..: makes dnf use these mirrors, and forget what it knows.
sources() {
    printf '[test]\nname=test\ngpgcheck=0\nbaseurl=%s\n' "$*" >/etc/yum.repos.d/test.repo
    rm -rf /var/cache/dnf
}

run() { # STATUS TEXT: runs the user data; its output must have the text
    local status=0
    output=$(sh "$HOME_OF_LOGIN/webserver.sh" 2>&1) || status=$?
    [ "$status" = "$1" ] || fail "exit status $status instead of $1: $output"
    [[ $output == *"$2"* ]] || fail "no '$2' in: $output"
}

check() {
    # A mirror that does not answer, and no other.
    sources http://127.0.0.1:9/
    run 1 "Failed to download metadata for repo 'test'"
    ! rpm -q nginx >/dev/null || fail "nginx was installed"
    # A repository without the web server: nothing is started and no page is written.
    mkdir /srv/without
    cp -r "$repo/noarch" /srv/without/
    rm /srv/without/noarch/nginx-*
    createrepo_c -q /srv/without
    sources file:///srv/without
    run 1 "No match for argument: nginx"
    [ ! -e "$page" ] || fail "a page was written without the web server"
    [ "$(rpm -q glibc)" = glibc-2.35-1.noarch ] || fail "the patches were not applied first"
    # Another mirror takes over from one that does not answer.
    sources http://127.0.0.1:9/ "file://$repo"
    for _ in first again; do
        run 0 "webserver: done"
        [ ! -L "$page" ] || fail "the page is still a link"
        [ "$(cat /usr/share/testpage/index.html)" = "test page" ] ||
            fail "another package's file was changed"
        systemctl is-active --quiet nginx || fail "nginx is not running"
        curl -sS --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 \
            http://127.0.0.1/ | cmp - "$page"
    done
    [ "$(rpm -q nginx python3 | tr '\n' ' ')" = "nginx-1.26-1.noarch python3-3.9-1.noarch " ] ||
        fail "$(rpm -q nginx python3)"
    restarting 1 "Reboot is required"
}

restarting() { # STATUS TEXT
    local status=0
    output=$(dnf -q needs-restarting -r 2>&1) || status=$?
    [[ $status = "$1" && $output == *"$2"* ]] ||
        fail "needs-restarting: exit status $status: $output"
}

check_after_reboot() {
    systemctl is-active --quiet nginx || fail "nginx is not running after the reboot"
    restarting 0 "Reboot should not be necessary"
}

HOME_OF_LOGIN=$(dirname "$(readlink -f "$0")")
"$1"
echo "dnf.sh: $1: ok"
