"""How we talk to model servers. Nothing outside this package knows an HTTP client."""
