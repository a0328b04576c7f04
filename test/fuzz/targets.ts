import { bootstrapTarget } from './bootstrap.ts';
import { checkTarget } from './check.ts';
import { fuseTarget } from './fuse.ts';
import { gzipTarget } from './gzip.ts';
import { ringTarget } from './ring.ts';
import type { MakeTarget } from './runner.ts';
import { tarTarget } from './tar.ts';
import { unitTarget } from './unit.ts';
import { vhostTarget } from './vhost.ts';

/** Every target by name. */
export const targets: Readonly<Record<string, MakeTarget>> = {
  bootstrap: bootstrapTarget,
  check: checkTarget,
  fuse: fuseTarget,
  gzip: gzipTarget,
  ring: ringTarget,
  tar: tarTarget,
  unit: unitTarget,
  vhost: vhostTarget,
};
