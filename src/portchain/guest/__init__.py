"""Launching a guest, and the programs that run as its services."""
