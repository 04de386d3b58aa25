"""How a guest runs."""
