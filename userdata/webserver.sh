#!/bin/sh
# User data of a web server whose home page shows one picture. This file is a shell
# script and a Jinja template: the placeholders are only inside the page. It runs as
# root on Amazon Linux 2023, RHEL, Rocky Linux and AlmaLinux (dnf), and on Debian and
# Ubuntu (apt), and can run repeatedly.
set -eu

step() {
    echo "webserver: $*"
}

if command -v dnf >/dev/null; then
    # Amazon Linux 2023 is locked to the release of its AMI, whose patches are known
    # to work together. Newer patches come with a newer AMI, or with --releasever,
    # which would let every launch install something else.
    step "applying patches with dnf: on Amazon Linux, those of this AMI's release"
    dnf -y upgrade
    step "installing nginx and Python 3"
    dnf -y install nginx python3
    root=/usr/share/nginx/html
elif command -v apt-get >/dev/null; then
    # No user is present to answer questions, and an update at boot may hold the lock.
    export DEBIAN_FRONTEND=noninteractive
    apt() {
        apt-get -y -o DPkg::Lock::Timeout=300 \
            -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
    }
    step "applying the patches of this release with apt-get"
    apt update
    apt upgrade
    step "installing nginx and Python 3"
    apt install nginx python3
    root=/var/www/html
else
    step "this system is not supported: it has neither dnf nor apt-get" >&2
    exit 1
fi

step "writing the home page to $root/index.html"
mkdir -p "$root"
# Create a new file and rename it: on Amazon Linux, index.html may be a link into
# another package's files, which writing through the link would change.
cat >"$root/.index.html.new" <<'HTML'
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title | e }}</title>
<style>
  :root { color-scheme: light dark; }
  body {
    margin: 0; min-height: 100vh; display: grid; place-items: center;
    font: 1.1rem/1.6 system-ui, sans-serif; text-align: center;
    color: #1c2733; background: #f3f6fa;
  }
  main { padding: 2rem; max-width: 40rem; }
  img { max-width: 100%; height: auto; border-radius: 1rem; box-shadow: 0 .5rem 2rem #0003; }
  h1 { margin: 1.5rem 0 .25rem; line-height: 1.2; }
  p { margin: 0; opacity: .75; }
  @media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #10161d; } }
</style>
</head>
<body>
<main>
  <img src="{{ picture | e }}" alt="{{ title | e }}">
  <h1>{{ title | e }}</h1>
  <p>This server was launched, patched and set up by one playbook.</p>
</main>
</body>
</html>
HTML
chmod 644 "$root/.index.html.new"
mv -f "$root/.index.html.new" "$root/index.html"

step "enabling and starting nginx"
systemctl enable --now nginx
systemctl is-active --quiet nginx
step "done"
