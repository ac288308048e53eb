"""Opens, clicks, page hits and unsubscriptions."""
