"""Programs that run inside the guest, one per service."""
