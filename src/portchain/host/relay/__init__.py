"""The relay of one guest: accept the clients of its forwards and relay to lent sockets, with no rights of its own."""
