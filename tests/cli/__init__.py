"""The command as a user drives it."""
