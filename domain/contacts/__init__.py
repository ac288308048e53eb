"""Contacts: their attributes, changes, membership and identity."""
