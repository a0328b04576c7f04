#!/bin/sh
# Scenario: guests with queues of 16, 128 and 1024 descriptors and with 1, 2 and 4 request queues.
exec sh "$(dirname "$0")/../vm/with-deps.sh" play queues
