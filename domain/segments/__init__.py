"""Segments by rule: what a rule asks, and its answer for contacts."""
