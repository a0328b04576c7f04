#!/bin/sh
# Scenario: umount, mount and a guest reboot under the same nydusd and the same connection.
exec sh "$(dirname "$0")/../vm/with-deps.sh" play reboot
