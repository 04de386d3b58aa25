"""Sockets: the event loop, relaying, dialling, accepting, datagrams, and the machine's listening sockets."""
