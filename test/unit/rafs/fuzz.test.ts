import { expect, it } from 'vitest';
import { fuzzBootstrap } from '../../fuzz/bootstrap.ts';

it('answers every call about a damaged bootstrap without throwing or looping', () => {
  const result = fuzzBootstrap(1, 300);
  expect(result.accepted).toBeGreaterThan(100);
  expect(result.refused).toBeGreaterThan(10);
  expect(result.eio).toBeGreaterThan(10);
});
