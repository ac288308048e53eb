"""Parcours: a campaign engine. What other packages import is in the modules of this folder itself."""
