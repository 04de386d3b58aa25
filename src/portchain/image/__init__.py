"""Root file systems, built from Debian packages and kept under the hash of their inputs."""
