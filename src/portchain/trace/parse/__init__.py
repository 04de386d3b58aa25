"""Parse what the kernel, its tools and the guest print. Pure; raise errors for what is not understood."""
