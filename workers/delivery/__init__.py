"""From the outbox to a provider: claim, compose, send, record."""
