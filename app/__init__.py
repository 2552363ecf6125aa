"""MoA Gateway: an OpenAI-compatible server that answers with a Mixture-of-Agents graph."""

__version__ = "0.1.0"
