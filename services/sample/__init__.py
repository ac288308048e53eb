"""What `parcours demo` runs: a campaign and its emails, to be read, and contacts who are made up."""
