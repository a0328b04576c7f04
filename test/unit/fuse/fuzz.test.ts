import { expect, it } from 'vitest';
import { fuzzFuse } from './fuzz.ts';

it('answers every damaged request once, rightly addressed and within its room', () => {
  const result = fuzzFuse(1, 20_000);
  expect(result.accepted).toBeGreaterThan(3000);
  expect(result.refused).toBeGreaterThan(3000);
  expect(result.waited).toBeGreaterThan(100);
  expect(fuzzFuse(1, 2000)).toEqual(fuzzFuse(1, 2000));
});
