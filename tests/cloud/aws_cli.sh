#!/usr/bin/env bash
# Uses the AWS CLI on the local cloud with the output of `autorun cloud env`
# alone: launches, describes, logs in to and terminates an instance; creates,
# fills, reads and empties a bucket. Usage: aws_cli.sh BUCKET, with `aws` on the
# PATH.
set -euo pipefail
bucket=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export AWS_PAGER=
ec2() {
    aws ec2 "$@" --output text
}
# As on AWS, a new resource may not be visible yet.
until_known() {
    local pause
    for pause in 0.05 0.1 0.2 0.4; do
        "$@" 2>error && return
        grep -q NotFound error || break
        sleep "$pause"
    done
    "$@"
}

image=$(ec2 describe-images --owners amazon --filters 'Name=name,Values=al2023-ami-2023*' \
    Name=architecture,Values=x86_64 --query 'sort_by(Images,&CreationDate)[-1].ImageId')
(umask 077; ec2 create-key-pair --key-name cli --key-type ed25519 --query KeyMaterial >key)
group=$(ec2 create-security-group --group-name cli --description cli --query GroupId)
until_known ec2 authorize-security-group-ingress --group-id "$group" \
    --protocol tcp --port 22 --cidr 0.0.0.0/0 >/dev/null
instance=$(ec2 run-instances --image-id "$image" --instance-type t3.micro --key-name cli \
    --security-group-ids "$group" --query 'Instances[0].InstanceId')
until_known ec2 wait instance-running --instance-ids "$instance"
address=$(ec2 describe-instances --instance-ids "$instance" \
    --query 'Reservations[0].Instances[0].PublicIpAddress')
user=$(ssh -i key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=known \
    -o LogLevel=ERROR "ec2-user@$address" 'sudo -n id -un')
[ "$user" = root ]
ec2 terminate-instances --instance-ids "$instance" >/dev/null
ec2 wait instance-terminated --instance-ids "$instance"
ec2 delete-security-group --group-id "$group" >/dev/null
ec2 delete-key-pair --key-name cli >/dev/null

aws s3 mb "s3://$bucket" >/dev/null
mkdir tree
printf one >tree/one.txt
# Large enough for a multipart upload.
head -c 12000000 /dev/urandom >tree/large.bin
aws s3 sync --only-show-errors tree "s3://$bucket/tree"
aws s3 cp --only-show-errors "s3://$bucket/tree/large.bin" back.bin
cmp back.bin tree/large.bin
[ "$(aws s3 ls --recursive "s3://$bucket" | wc -l)" = 2 ]
aws s3 presign "s3://$bucket/tree/one.txt" >url
[ "$(curl -sS "$(cat url)")" = one ]
aws s3 rb --force "s3://$bucket" >/dev/null
[ "$(aws s3 ls)" = "" ]
echo "aws_cli: ok"
