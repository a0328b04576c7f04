#!/bin/sh
# with-deps.sh TASK [ARGUMENTS]: brings a fresh clone to where TASK (bench, coverage, demo, fuzz, play, prepare, test)
# can run, then runs it: Debian's packages and a guest kernel (vm/deps.sh), node_modules, the addon. What is there
# already is left alone.
# The npm scripts start here, because before `npm ci` there is nothing but sh and the host's node.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
sh vm/deps.sh

installed=node_modules/.package-lock.json
if [ ! -x node_modules/.bin/node ] || [ ! -e "$installed" ] || [ package-lock.json -nt "$installed" ]; then
  echo 'npm ci' >&2
  # Its warnings that packages want a newer Node are beside the point: they run on the pinned one.
  # With the host's node: npm is about to replace the one in node_modules.
  if [ -n "${npm_execpath:-}" ] && [ "${npm_node_execpath:-}" != "$top/node_modules/.bin/node" ]; then
    PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v 'node_modules/\.bin$' | paste -sd:) \
      "${npm_node_execpath:-node}" "$npm_execpath" ci --no-audit --no-fund --loglevel=error >&2
  else
    npm ci --no-audit --no-fund --loglevel=error >&2
  fi
fi

PATH=$top/node_modules/.bin:$PATH
export PATH
node addon/build.ts >&2

task=$1
shift
case $task in
  bench)
    bench=virtiofs
    case ${1:-} in image|storage) bench=$1; shift ;; esac
    node addon/build.ts --test >&2 && exec node "test/bench/$bench.ts" "$@" ;;
  coverage) exec vitest run --project node --coverage "$@" ;;
  demo) exec tsx vm/demo.ts "$@" ;;
  fuzz) exec node test/fuzz/asan.ts "$@" ;;
  play) exec tsx vm/play.ts "$@" ;;
  prepare) ;;
  test) exec vitest run "$@" ;;
  *) echo "with-deps.sh: no task $task" >&2; exit 2 ;;
esac
