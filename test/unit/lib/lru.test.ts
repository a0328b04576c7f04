import { expect, it } from 'vitest';
import { ByteLru } from '../../../src/lib/lru.ts';

function filled(limitBytes: number, ...names: string[]): ByteLru {
  const cache = new ByteLru(limitBytes);
  for (const name of names) cache.put(name, new Uint8Array(10));
  return cache;
}

it('what was used least recently goes first', () => {
  const cache = filled(30, 'a', 'b', 'c');
  cache.get('a');
  cache.put('d', new Uint8Array(10));
  expect(['a', 'b', 'c', 'd'].map((name) => cache.get(name) !== undefined)).toEqual([
    true,
    false,
    true,
    true,
  ]);
  expect(cache.bytes).toBe(30);
});

it('a name that is put again counts once', () => {
  const cache = filled(30, 'a', 'a');
  expect(cache.bytes).toBe(10);
});

it('what takes more than half of the room is not kept and drives nothing out', () => {
  const cache = filled(30, 'a');
  cache.put('b', new Uint8Array(16));
  expect(cache.get('b')).toBeUndefined();
  expect(cache.get('a')).toBeDefined();
});

it('all names with a prefix are forgotten together', () => {
  const cache = filled(30, '1:a', '1:b', '2:a');
  cache.drop('1:');
  expect(cache.bytes).toBe(10);
  expect(cache.get('2:a')).toBeDefined();
});
