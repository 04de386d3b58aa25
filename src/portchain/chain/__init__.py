"""The chain from a host port to a container: is it whole."""
