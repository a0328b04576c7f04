import { expect, test } from 'vitest';
import { ahead } from '../../../src/lib/ahead.ts';

/** Work that ends when it is told to. */
class Steps {
  readonly begun: number[] = [];
  readonly #ends = new Map<number, () => void>();

  readonly work = (item: number): Promise<number> => {
    this.begun.push(item);
    return new Promise((resolve) => this.#ends.set(item, () => resolve(item * 10)));
  };

  end(item: number): void {
    this.#ends.get(item)!();
  }
}

test('results come in order, whatever ends first, and no more is under way than may be', async () => {
  const steps = new Steps();
  const limits = { countMax: 2, sizeMax: 100, sizeOf: () => 1 };
  const results = ahead([1, 2, 3, 4], steps.work, limits);
  const first = results.next();
  expect(steps.begun).toEqual([1, 2]);
  steps.end(2);
  steps.end(1);
  expect((await first).value).toBe(10);
  const second = results.next();
  expect((await second).value).toBe(20);
  expect(steps.begun).toEqual([1, 2, 3]);
  const rest = results.next();
  await Promise.resolve();
  steps.end(3);
  expect((await rest).value).toBe(30);
  const last = results.next();
  steps.end(4);
  expect((await last).value).toBe(40);
  expect((await results.next()).done).toBe(true);
});

test('large items wait for those before them', () => {
  const steps = new Steps();
  const limits = { countMax: 10, sizeMax: 100, sizeOf: (item: number) => item };
  void ahead([60, 30, 20], steps.work, limits).next();
  expect(steps.begun).toEqual([60, 30]);
});

test('rejects with the first failure in the order of the items', async () => {
  const work = (item: number): Promise<number> => Promise.reject(new Error(`item ${item}`));
  const results = ahead([1, 2, 3], work, { countMax: 3, sizeMax: 100, sizeOf: () => 1 });
  await expect(results.next()).rejects.toThrow('item 1');
});
