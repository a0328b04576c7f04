#!/bin/sh
# The same as `npm run demo`.
exec sh "$(dirname "$0")/../vm/with-deps.sh" demo
