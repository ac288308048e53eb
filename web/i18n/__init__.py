"""The languages of pages."""
