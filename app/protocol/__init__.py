"""OpenAI's wire format and nothing else: requests, chunks, usage, error bodies, event streams."""
