"""portchain: how a port on the host reaches a container in the guest."""
