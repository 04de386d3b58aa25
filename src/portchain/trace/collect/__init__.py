"""Collect evidence from the machine, each hop where it is."""
