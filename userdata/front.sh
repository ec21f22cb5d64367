#!/bin/sh
# User data of a front-end server: nginx forwards requests according to
# /etc/nginx/live.conf, which front-switch replaces. It runs as root on Amazon
# Linux 2023 (dnf), Debian and Ubuntu (apt).
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

# Reads the next live.conf from standard input and returns when nginx serves it. A
# file that nginx rejects is reverted before nginx loads it.
cat >/usr/local/sbin/front-switch <<'SH'
#!/bin/sh
set -e
workers() {
    pgrep -f 'nginx: worker process *$'
}
cd /etc/nginx
cat >next.conf
# Reject a file that a lost connection has truncated.
[ "$(tail -n 1 next.conf)" = '# end' ]
before=$(workers) || true
cp live.conf last.conf
mv next.conf live.conf
nginx -t && systemctl reload nginx || {
    mv last.conf live.conf
    exit 1
}
# The old workers accept no more requests as soon as their titles say so.
for _ in $(seq 100); do
    workers | grep -qxF "$before" || exit 0
    sleep 0.05
done
SH

# Waits until the requests that were in progress at the last switch have ended,
# but at most for the given number of seconds.
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
