"""Evidence on the host about one guest, for a bundle that helps to find a fault."""
