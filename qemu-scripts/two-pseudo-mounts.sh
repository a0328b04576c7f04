#!/bin/sh
# Scenario: two images in one tree, mounted and unmounted through the API while the guest runs.
exec sh "$(dirname "$0")/../vm/with-deps.sh" play two-pseudo-mounts
