"""One file per address. Routes translate between HTTP and the use cases; no logic here."""
