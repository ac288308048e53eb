"""The command's parts that do work in this process; `parcours.py` finds them by name."""
