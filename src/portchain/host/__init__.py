"""Programs that run on the machine: the daemon of each guest, and the guest's driver."""
