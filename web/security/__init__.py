"""Who may come in: sessions, keys, limits, sizes, tokens."""
