#!/bin/sh
# Scenario: QEMU is killed and another one joined to the same socket.
exec sh "$(dirname "$0")/../vm/with-deps.sh" play reconnect
