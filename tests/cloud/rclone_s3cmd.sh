#!/usr/bin/env bash
# Uses rclone and s3cmd on the local cloud's S3 with the output of `autorun cloud
# env`: creates, fills, lists, compares, shares and empties buckets, with a file in
# parts. Usage: rclone_s3cmd.sh BUCKET.
set -euo pipefail
name=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export HOME=$scratch

# same TEXT COMMAND..: fails unless the command prints the text.
same() {
    local wanted=$1 found
    shift
    found=$("$@")
    [ "$found" = "$wanted" ] || { printf '%s\nprints:\n%s\nnot:\n%s\n' "$*" "$found" "$wanted" >&2; exit 1; }
}
fails() {
    if "$@" >out 2>&1; then echo "$* succeeds" >&2; exit 1; fi
}

mkdir -p 'files/a b' files/ü
echo one >files/one.txt
echo two >'files/a b/two+&.txt'
: >files/ü/empty
head -c 21M /dev/urandom >files/large
all=$'a b/two+&.txt\nlarge\none.txt\nü/empty'

# --- rclone ---

rclone() {
    command rclone --config "$scratch/rclone.conf" "$@"
}
cat >rclone.conf <<END
[local]
type = s3
provider = Other
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
endpoint = $AWS_ENDPOINT_URL
region = us-east-1
force_path_style = true
acl = bucket-owner-full-control
bucket_acl = private
upload_cutoff = 8Mi
chunk_size = 5Mi
END
first=local:$name-rclone
listed() {
    rclone lsf -R --files-only "$1" | LC_ALL=C sort
}
rclone mkdir "$first"
same "$name-rclone/" rclone lsf local: --include "$name-rclone/"
rclone copy files "$first/in"
same "$all" listed "$first/in"
same "" rclone check files "$first/in" 2>/dev/null
same '{"count":4,"bytes":22020104,"sizeless":0}' rclone size --json "$first"
# Nothing has changed, and then one file has.
rclone sync files "$first/in" --stats-one-line -v 2>log
if grep -q Copied log; then cat log >&2; exit 1; fi
echo three >files/one.txt
rm -r files/ü
rclone sync files "$first/in"
same $'a b/two+&.txt\nlarge\none.txt' listed "$first/in"
same three rclone cat "$first/in/one.txt"
rclone copyto "$first/in/large" "$first/copy"
rclone moveto "$first/in/one.txt" "$first/moved é.txt"
same three rclone cat "$first/moved é.txt"
rclone copy "$first/copy" back
cmp files/large back/copy
same three curl -sS "$(rclone link --expire 1m "$first/moved é.txt")"
date=$(date -u -d 2020-02-03 +%Y-%m-%dT%H:%M:%S)
rclone touch -t "$date" "$first/moved é.txt"
same "2020-02-03 00:00:00" rclone lsf --format t "$first/moved é.txt"
fails rclone rmdir "$first"
# With versioning, a deleted file can be seen and brought back.
rclone backend versioning "$first" Enabled >/dev/null
rclone deletefile "$first/copy"
same "" rclone lsf "$first" --files-only --include copy
rclone lsf --files-only --s3-versions "$first" >versions
grep -q '^copy-v2' versions
rclone delete "$first"
rclone backend cleanup-hidden "$first" >/dev/null
rclone rmdir "$first"

# --- s3cmd ---

host=${AWS_ENDPOINT_URL#http://}
cat >s3cfg <<END
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = $host
host_bucket = $host
bucket_location = us-east-1
use_https = False
multipart_chunk_size_mb = 8
END
s3cmd() {
    command s3cmd --config "$scratch/s3cfg" --no-progress "$@"
}
# quietly COMMAND..: shows the output of s3cmd only if it fails.
quietly() {
    s3cmd "$@" >out 2>&1 || { cat out >&2; exit 1; }
}
second=s3://$name-s3cmd
keys() {
    s3cmd ls --recursive "$1" | sed "s|.*$second/||" | LC_ALL=C sort
}
echo one >files/one.txt
mkdir files/ü
: >files/ü/empty
quietly mb "$second"
quietly put --recursive files/ "$second/in/"
same $'in/a b/two+&.txt\nin/large\nin/one.txt\nin/ü/empty' keys "$second/in/"
quietly sync --delete-removed files/ "$second/in/"
rm files/one.txt
quietly sync --delete-removed files/ "$second/in/"
same $'in/a b/two+&.txt\nin/large\nin/ü/empty' keys "$second/in/"
quietly get "$second/in/large" fetched
cmp files/large fetched
# As on AWS, s3cmd fails to copy the access control list of an object.
fails s3cmd cp "$second/in/large" "$second/copy"
grep -q AccessControlListNotSupported out
quietly --acl-private cp "$second/in/large" "$second/copy"
quietly --acl-private mv "$second/in/a b/two+&.txt" "$second/moved é"
quietly --acl-private modify --add-header=content-type:text/x-moved "$second/moved é"
s3cmd info "$second/moved é" >info
grep -q text/x-moved info
same two curl -sS "$(s3cmd signurl "$second/moved é" +60)"
s3cmd info "$second" >info
grep -q 'Location: *us-east-1' info
fails s3cmd rb "$second"
quietly del "$second/copy"
same $'in/large\nin/ü/empty\nmoved é' keys "$second"
s3cmd multipart "$second" >uploads
[ "$(wc -l <uploads)" = 2 ] || { cat uploads >&2; exit 1; }
quietly rb --recursive --force "$second"
s3cmd ls >buckets
if grep "$name-s3cmd" buckets; then exit 1; fi
