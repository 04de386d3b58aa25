"""diagnose: give access to the guest, and collect what it can tell of itself."""
