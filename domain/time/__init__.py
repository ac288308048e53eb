"""Intervals, hours, windows and timezones."""
