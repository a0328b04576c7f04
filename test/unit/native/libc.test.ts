import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('the limit of open files is never lowered, and without the right to go beyond the hard limit that one holds', () => {
  const libc = fileURLToPath(new URL('../../../src/native/libc.ts', import.meta.url));
  const script = `import(${JSON.stringify(libc)}).then(({ raiseOpenFilesLimit }) => {
    console.log(JSON.stringify([150, 300].map(raiseOpenFilesLimit)));
  })`;
  // Node itself raises the soft limit to the hard one when it starts.
  const shell = 'ulimit -S -n 128; ulimit -H -n 200; exec "$@"';
  const node = ['sh', '-c', shell, 'sh', process.execPath, '-e', script];
  const root = process.getuid?.() === 0;
  const command = [...(root ? ['setpriv', '--bounding-set', '-sys_resource'] : []), ...node];
  const said = execFileSync(command[0]!, command.slice(1), { encoding: 'utf8' });
  const limit = { soft: 200, hard: 200 };
  expect(JSON.parse(said)).toEqual([limit, limit]);
});
