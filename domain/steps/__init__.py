"""Step types: one function each, found through the `parcours.steps` entry points."""
