"""The packet filter's rules as data, and a packet's way through them. Pure."""
