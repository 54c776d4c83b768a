#!/bin/bash
# Waits for the notice that Amazon takes this spot instance back, and prints it.
#
#   watch-notice.sh PAUSE MISSES      seconds between two looks; after how many looks in vain it gives up
#
# The notice is the path `spot/instance-action` of the instance's metadata, which is there from two minutes before the instance ends.
# It is one line of JSON, such as {"action":"terminate","time":"2026-11-20T10:53:01Z"}. A look takes a token, as version 2 of the metadata
# service asks for. The service is where the variable AWS_EC2_METADATA_SERVICE_ENDPOINT says, which programs of AWS heed as well.
#
# Its follower holds standard input open, and this ends when that does. No program beside bash and coreutils is needed.
#
# Exit codes: 0 the notice was printed, or standard input has ended; 1 the service does not answer; 64 wrong arguments.
set -uo pipefail
export LC_ALL=C.UTF-8

if (($# != 2)) || [[ ! $1$2 =~ ^[0-9]+$ ]]; then
    printf '%s\n' "usage: watch-notice.sh PAUSE MISSES" >&2
    exit 64
fi
pause=$1 misses=$2

service=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
service=${service#http://} service=${service%/}
host=${service%%/*}
prefix=${service#"$host"}
port=${host##*:}
[[ $host == *:* ]] || port=80

# Prints the whole answer to a request.
#
#   ask METHOD PATH HEADER
ask() {
    exec 3<>"/dev/tcp/${host%:*}/$port" || return
    printf '%s %s/latest/%s HTTP/1.0\r\nHost: %s\r\n%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' \
        "$1" "$prefix" "$2" "$host" "$3" >&3 && cat <&3
}
export -f ask
export host port prefix

# Asks, waits no longer than such a request may take, and sets `status` and `body`.
look() {
    local answer
    answer=$(timeout 5 bash -c 'ask "$@"' ask "$@" </dev/null 2>/dev/null)
    status=${answer#* } status=${status%% *}
    body=${answer#*$'\r\n\r\n'}
}

missed=0
while :; do
    look PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60'
    if [[ $status == 200 ]]; then
        look GET meta-data/spot/instance-action "X-aws-ec2-metadata-token: $body"
    else
        status="no token, ${status:-no answer}"
    fi
    case $status in
    200)
        printf '%s\n' "$body"
        exit 0
        ;;
    404) missed=0 ;;
    *) missed=$((missed + 1)) ;;
    esac
    if ((missed >= misses)); then
        printf '%s\n' "the metadata service at $host does not answer as it should: ${status:-no answer}" >&2
        exit 1
    fi
    # A line is nothing to us, and no line in time is what is waited for; the rest is the end of standard input.
    IFS= read -r -t "$pause" || (($? > 128)) || exit 0
done
