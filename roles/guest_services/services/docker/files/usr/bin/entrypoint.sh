#!/bin/sh
# The engine's folders, then the engine under its lifecycle server, which is told when it is time to end.
set -eu

mkdir -p /run/desktop /run/desktop-containerd /run/lock
logwrite -n lifecycle-server lifecycle-server &
trap 'kill -TERM $!' TERM INT
while kill -0 $! 2>/dev/null; do
  wait $! && status=0 || status=$?
done
exit "$status"
