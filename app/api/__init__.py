"""HTTP and nothing else: middleware, routes, streaming, error answers. Decides nothing."""
