"""One contact walks a campaign's tree: what is decided, and which rows it writes."""
