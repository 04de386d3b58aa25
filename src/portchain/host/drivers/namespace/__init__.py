"""A guest made of namespaces: its supervisor, root, network and the programs beside it."""
