"""Machines of several sizes, and what is drawn of them."""
