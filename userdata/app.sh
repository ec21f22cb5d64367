#!/bin/sh
# User data of a small web application that needs no package: Python's own web server
# serves one page. This file is a Jinja template with the values `version` and `port`.
# It runs as root on Amazon Linux 2023, Debian and Ubuntu.
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
