import { constants } from 'node:os';
import { expect, it } from 'vitest';
import { Errno, errnoName } from '../../../src/lib/errno.ts';

it("the table has the system's numbers", () => {
  const { errno } = constants as { errno: Record<string, number> };
  expect(Object.keys(Errno).map((name) => [name, errno[name]])).toEqual(Object.entries(Errno));
});

it('a result that is -errno has a name', () => {
  expect([-Errno.ENOENT, -Errno.ECONNREFUSED, -104].map(errnoName)).toEqual([
    'ENOENT',
    'ECONNREFUSED',
    'ECONNRESET',
  ]);
});
