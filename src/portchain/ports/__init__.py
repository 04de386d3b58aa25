"""Endpoints, publications and forwards: what they are, which conflict, and which are allowed. Pure."""
