"""Mixture of Agents: graphs, layers, nodes and references (Wang et al. 2024, arXiv 2406.04692).

Talks to models through `app.interfaces.ChatModel` only; knows no HTTP, environment, store or
metrics.
"""
