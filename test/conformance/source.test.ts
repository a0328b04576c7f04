import { renameSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lanes } from '../../src/blob/lanes.ts';
import { LocalfsSource } from '../../src/source/localfs.ts';
import { openSource } from '../../src/source/open.ts';
import { describeSource, type SourceBench } from './source.ts';

async function directory(open: (dir: string) => ReturnType<SourceBench['open']>): Promise<SourceBench> {
  const dir = await mkdtemp(join(tmpdir(), 'source-'));
  return {
    open: () => open(dir),
    put: async (id, bytes) => writeFileSync(join(dir, id), bytes),
    cut: async (id, size) => truncateSync(join(dir, id), size),
    // An open file goes on when its name goes: a break shows to sources that have not opened it.
    break: async (id, isBroken) => {
      if (isBroken) renameSync(join(dir, id), join(dir, `${id}.hidden`));
      else renameSync(join(dir, `${id}.hidden`), join(dir, id));
    },
    close: () => rm(dir, { recursive: true }),
  };
}

describeSource('localfs', () => directory((dir) => openSource({ type: 'localfs', localfs: { dir } })));

const lanes = new Lanes();
describeSource('localfs behind the lanes of its place', () =>
  directory((dir) => lanes.lead(new LocalfsSource({ dir }))),
);
