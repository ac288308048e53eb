"""What puts work on the queues: the command, tick, event publishing."""
