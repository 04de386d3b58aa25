"""The engine's API between its clients and the guest."""
