"""dramatiq actors and the read-decide-write functions behind them."""
