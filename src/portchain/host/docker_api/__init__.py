"""docker.sock: the engine's API with the host's ports in it."""
