"""Launching a guest, and the programs that run as its services."""

# Where programs are looked for, in the guest and in its services.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
