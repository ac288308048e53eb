"""What pages, commands and workers read across tables."""
