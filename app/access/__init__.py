"""Who may call, how much, and what it cost. Knows no web framework."""
