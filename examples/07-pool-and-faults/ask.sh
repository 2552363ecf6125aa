#!/bin/sh
# The same question to each pool; -i shows status and headers.
url="${GATEWAY_URL:-http://127.0.0.1:8000}/v1/chat/completions"

ask() {
  printf '\n=== %s\n' "$1"
  curl -sS -i "$url" -H "content-type: application/json" \
    -H "authorization: Bearer ${GATEWAY_KEY:-unused}" \
    -d '{"model": "'"$1"'", "stream": '"$2"', "messages": [{"role": "user", "content": "Why?"}]}'
}

ask spread false
ask keyed false
ask rescued false
ask resting false
ask resting false
ask resting false
ask broken true
ask panel false
