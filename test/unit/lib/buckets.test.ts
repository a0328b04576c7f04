import { expect, it } from 'vitest';
import { firstAbove, firstNotBelow } from '../../../src/lib/buckets.ts';

const LIMITS = [1, 4, 16];

it.each([
  [0, 0, 0],
  [0.5, 0, 0],
  [1, 1, 0],
  [1.5, 1, 1],
  [4, 2, 1],
  [16, 3, 2],
  [17, 3, 3],
  [Number.POSITIVE_INFINITY, 3, 3],
])('%d is in bucket %i of those that end below their limit, %i of those that end at it', (value, above, notBelow) => {
  expect([firstAbove(LIMITS, value), firstNotBelow(LIMITS, value)]).toEqual([above, notBelow]);
});

it('without limits there is one bucket', () => {
  expect([firstAbove([], 7), firstNotBelow([], 7)]).toEqual([0, 0]);
});
