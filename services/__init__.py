"""Use cases: what a person or a program asks for, each in one transaction, and shapes of JSON."""
