#!/bin/sh
# Scenario: one image, named on the command line of nydusd, at the root of the guest's mount.
exec sh "$(dirname "$0")/../vm/with-deps.sh" play mount
