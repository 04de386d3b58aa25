"""HTTP/1.1: messages without I/O, streams, two clients (blocking and asyncio), and the guest's server."""
