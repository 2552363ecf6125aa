"""The measuring bench: see README.md. Nothing in `app` may import it."""
