"""The use cases, without a web framework: what is served, and one request's way through it."""
