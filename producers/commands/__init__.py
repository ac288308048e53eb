"""The command's parts that need no workers; `parcours.py` finds them by name."""
