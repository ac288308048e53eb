"""Contact events: their types, how they are read, and the facts that decisions see."""
