"""The kernel and the service manager: system calls, control groups, subordinate ids, daemons, logs."""
