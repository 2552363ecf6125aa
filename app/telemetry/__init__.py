"""Metrics and logs. They read what others wrote down; nobody reports to them."""
