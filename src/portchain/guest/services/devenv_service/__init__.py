"""devenv-service: keep development environments in volumes of the engine."""
