"""OpenAI's `/v1/responses` on chat: requests, items, response objects and typed events. Pure."""
