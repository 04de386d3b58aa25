"""Programs that run in the guest: its init, its logs, its health and its services."""
