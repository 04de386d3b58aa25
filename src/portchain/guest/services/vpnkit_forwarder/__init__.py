"""vpnkit-forwarder: serve the guest's end of every forward."""
