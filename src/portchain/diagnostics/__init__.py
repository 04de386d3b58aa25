"""Gathering what is needed to find out why something does not work, on both sides."""
