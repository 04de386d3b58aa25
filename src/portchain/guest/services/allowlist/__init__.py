"""allowlist: decide which names the guest and its containers may reach."""
