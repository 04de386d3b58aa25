"""docker: run containerd and dockerd, watched by lifecycle-server."""
