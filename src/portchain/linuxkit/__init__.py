"""LinuxKit's YAML: its schema and checks, stored images, and the OCI bundles made from both."""
