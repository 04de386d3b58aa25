"""Root file systems, built from Debian packages and kept under the hash of what they are made of."""
