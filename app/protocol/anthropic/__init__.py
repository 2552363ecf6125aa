"""Anthropic's Messages API as another wire of the chat engine: translation only, both ways."""
