#!/bin/sh
# Send one event, then the file of examples, to a running daemon (`sentinel run` or `sentinel demo`).
#
#   ./send.sh [URL]        default http://127.0.0.1:8080
#
# SENTINEL_API_KEY is sent when it is set.
set -eu

url="${1:-http://127.0.0.1:8080}/api/v1/events"
here=$(dirname "$0")

post() {
    curl --silent --show-error --header "X-API-Key: ${SENTINEL_API_KEY:-}" --write-out '\nHTTP %{http_code}\n' "$@" "$url"
}

# The shortest event there is: three fields are required. Without an id it is counted again each time it is sent.
post --header 'Content-Type: application/json' \
    --data '{"service_name": "chat-api", "model_name": "gpt-4o", "latency_ms": 812.5, "prompt_tokens": 412, "completion_tokens": 96}'

# Twenty events, one a line. The answer counts 19 accepted and 1 rejected, and says which and why.
post --header 'Content-Type: application/x-ndjson' --data-binary "@$here/events.jsonl"
