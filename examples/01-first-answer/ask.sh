#!/bin/sh
# One question, answered as an event stream; -N shows events as they come.
curl -sS -N "${GATEWAY_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H "authorization: Bearer ${GATEWAY_KEY:-unused}" \
  -H "content-type: application/json" \
  -d '{
    "model": "'"${GATEWAY_MODEL:-moa}"'",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "stream": true
  }'
