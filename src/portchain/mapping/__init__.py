"""What should be forwarded: publications, forwards, plans. Pure: no sockets, no processes."""
