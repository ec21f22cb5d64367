#!/bin/sh
# Stand-in for sudo: members of the login user's group may become any user.
set -f
elevate=/usr/lib/autorun/setpriv
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() {
    echo "sudo: $*" >&2
    exit 1
}

user=root
how=command
environment=reset
while [ $# -gt 0 ]; do
    case $1 in
        --) shift; break ;;
        -u | --user) user=${2-}; [ $# -gt 1 ] && shift ;;
        --user=*) user=${1#*=} ;;
        -u?*) user=${1#-u} ;;
        -i | --login) how=login ;;
        -s | --shell) how=shell ;;
        -E | --preserve-env | --preserve-env=*) environment=keep ;;
        -n | --non-interactive | -H | --set-home | -S | --stdin | -A | --askpass) ;;
        -g | --group | -p | --prompt | -C | -h | -r | -t) shift ;;
        -k | -K | -v | --validate | --reset-timestamp | --remove-timestamp)
            [ $# -gt 1 ] || exit 0
            ;;
        -l | --list)
            echo "User $(id -un) may run the following commands:"
            echo "    (ALL) NOPASSWD: ALL"
            exit 0
            ;;
        -V | --version) echo "Sudo version 1.9 (stand-in of autorun)"; exit 0 ;;
        -[!-]?*)
            # -nE means -n -E.
            rest=${1#-?}
            first=${1%"$rest"}
            shift
            set -- "$first" "-$rest" "$@"
            continue
            ;;
        -*) fail "unrecognized option '$1'" ;;
        *) break ;;
    esac
    shift
done

[ -x "$elevate" ] || fail "$(id -un) is not in the sudoers file."
user=${user#"#"}
entry=$(getent passwd -- "$user") || fail "unknown user $user"
IFS=: read -r name _ uid gid _ home shell <<ENTRY
$entry
ENTRY

# The command to run: "$@" with assignments in front, which env understands.
shell=${shell:-/bin/sh}
[ "$how" != shell ] || shell=${SHELL:-/bin/sh}
case $how in
    command)
        for argument; do
            case $argument in *=*) ;; *) program=$argument; break ;; esac
        done
        if [ -z "${program-}" ]; then
            echo "usage: sudo [-EHnS] [-i | -s] [-u user] [VAR=value] command" >&2
            exit 1
        fi
        (PATH=$path && command -v "$program") >/dev/null || fail "$program: command not found"
        ;;
    *)
        [ $# -eq 0 ] || set -- -c '"$0" "$@"' "$@"
        [ "$how" != login ] || set -- -l "$@"
        set -- "$shell" "$@"
        ;;
esac

set -- HOME="$home" USER="$name" LOGNAME="$name" SHELL="$shell" PATH="$path" \
    SUDO_USER="$(id -un)" SUDO_UID="$(id -u)" SUDO_GID="$(id -g)" "$@"
if [ "$environment" = reset ]; then
    for name in TERM LANG LANGUAGE LC_ALL LC_CTYPE COLORTERM TZ \
        http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        eval "value=\${$name-}"
        [ -z "$value" ] || set -- "$name=$value" "$@"
    done
    set -- -i "$@"
fi
[ "$how" != login ] || set -- -C "$home" "$@"
exec "$elevate" --reuid "$uid" --regid "$gid" --init-groups -- env "$@"
