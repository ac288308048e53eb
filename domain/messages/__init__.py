"""Messages: contents, templates, policies, rates and results of delivery."""
