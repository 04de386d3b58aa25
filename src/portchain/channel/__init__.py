"""How host and guest talk."""
