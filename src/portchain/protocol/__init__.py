"""Messages, names and rules that host and guest share. Pure."""
