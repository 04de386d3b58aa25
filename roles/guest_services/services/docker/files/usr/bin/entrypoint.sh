#!/bin/sh
# Settings of the engine's network namespace, then the engine under its lifecycle server.
set -eu

mkdir -p /run/desktop /run/desktop-containerd /run/lock
logwrite -n lifecycle-server lifecycle-server
