"""Invariants and health of the database."""
