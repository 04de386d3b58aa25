#!/bin/sh
set -eu
nginx -t -q
exec "$@"
