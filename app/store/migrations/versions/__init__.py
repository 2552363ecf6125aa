"""One file for each change, named `<what>_<number>`; a published one is never changed."""
