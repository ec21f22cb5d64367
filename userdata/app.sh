#!/bin/sh
# User data of a small web application that needs no package: Python's own web
# server shows one page. A Jinja template; `version` and `port` are filled in.
# Runs as root on Amazon Linux 2023, Debian and Ubuntu.
set -eu

mkdir -p /opt/app
cat >/opt/app/index.html <<'HTML'
<!DOCTYPE html>
<title>The application</title>
<p>version {{ version | e }}
HTML

cat >/etc/systemd/system/app.service <<'UNIT'
[Unit]
Description=The application
After=network.target

[Service]
User=nobody
WorkingDirectory=/opt/app
ExecStart=/usr/bin/python3 -m http.server {{ port }}
Restart=always

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now app
