"""Where what outlives a request is kept: keys, books, counters, caches; behind types of others."""
