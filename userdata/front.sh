#!/bin/sh
# User data of a front: nginx passes requests on as /etc/nginx/live.conf says,
# which front-switch replaces. Runs as root on Amazon Linux 2023 (dnf), Debian and
# Ubuntu (apt).
set -eu

if command -v dnf >/dev/null; then
    dnf -y upgrade
    dnf -y install nginx
else
    export DEBIAN_FRONTEND=noninteractive
    apt-get -y -o DPkg::Lock::Timeout=300 update
    apt-get -y -o DPkg::Lock::Timeout=300 upgrade
    apt-get -y -o DPkg::Lock::Timeout=300 install nginx
fi

cat >/etc/nginx/nginx.conf <<'CONF'
worker_processes auto;
error_log /var/log/nginx/error.log;
events {}
http {
    access_log /var/log/nginx/access.log;
    server_tokens off;
    include /etc/nginx/live.conf;
}
CONF
cat >/etc/nginx/live.conf <<'CONF'
# live: none
server {
    listen 80 default_server;
    return 503;
}
CONF

# Takes the next live.conf from its input, and returns when it serves. What nginx
# does not accept is taken back before it is loaded.
cat >/usr/local/sbin/front-switch <<'SH'
#!/bin/sh
set -e
workers() {
    pgrep -f 'nginx: worker process *$'
}
cd /etc/nginx
cat >next.conf
# Whole, not cut off with the connection.
[ "$(tail -n 1 next.conf)" = '# end' ]
before=$(workers) || true
cp live.conf last.conf
mv next.conf live.conf
nginx -t && systemctl reload nginx || {
    mv last.conf live.conf
    exit 1
}
# Those of before take no request any more once their title says so.
for _ in $(seq 100); do
    workers | grep -qxF "$before" || exit 0
    sleep 0.05
done
SH

# Waits until the requests under way at the last switch have ended, but not longer
# than so many seconds.
cat >/usr/local/sbin/front-drain <<'SH'
#!/bin/sh
end=$(($(date +%s) + $1))
while pgrep -f 'nginx: worker process is shutting down' >/dev/null; do
    [ "$(date +%s)" -lt "$end" ] || exit 1
    sleep 0.1
done
SH
chmod 755 /usr/local/sbin/front-switch /usr/local/sbin/front-drain

nginx -t
systemctl enable nginx
systemctl restart nginx
