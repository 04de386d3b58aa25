"""trim-after-delete: give freed space back to the host's disk."""
