import { expect, it } from 'vitest';
import { gaveUp, within } from '../../../src/lib/deadline.ts';

const FOREVER = Number.POSITIVE_INFINITY;
const error = (why: string) => new Error(why);
const never = () => new Promise<never>(() => {});

it('what is done in time is passed on, value or error', async () => {
  const patience = { deadlineMs: performance.now() + 60_000, signal: new AbortController().signal };
  expect(await within(Promise.resolve(1), patience, error)).toBe(1);
  await expect(within(Promise.reject(new Error('broken')), patience, error)).rejects.toThrow('broken');
});

it('what hangs is left behind at the deadline', async () => {
  const late = within(never(), { deadlineMs: performance.now() + 5, signal: null }, error);
  await expect(late).rejects.toThrow('deadline');
});

it('what hangs is left behind at the signal, even one that was given before', async () => {
  const abort = new AbortController();
  const hanging = within(never(), { deadlineMs: FOREVER, signal: abort.signal }, error);
  abort.abort();
  await expect(hanging).rejects.toThrow('signal');
  await expect(within(never(), { deadlineMs: FOREVER, signal: abort.signal }, error)).rejects.toThrow(
    'signal',
  );
});

it('work that fails after it was left behind is no unhandled rejection', async () => {
  const { promise, reject } = Promise.withResolvers<never>();
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  await expect(within(promise, { deadlineMs: performance.now(), signal: null }, error)).rejects.toThrow();
  reject(new Error('too late'));
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

it('a deadline further away than a timer can be is waited for', async () => {
  const patience = { deadlineMs: performance.now() + 2 ** 40, signal: null };
  expect(await within(Promise.resolve('in time'), patience, error)).toBe('in time');
  const abort = new AbortController();
  const hanging = within(never(), { ...patience, signal: abort.signal }, error);
  abort.abort();
  await expect(hanging).rejects.toThrow('signal');
});

it('patience has ended at its deadline or signal', () => {
  expect(gaveUp({ deadlineMs: FOREVER, signal: null })).toBe(null);
  expect(gaveUp({ deadlineMs: performance.now() - 1, signal: null })).toBe('deadline');
  expect(gaveUp({ deadlineMs: FOREVER, signal: AbortSignal.abort() })).toBe('signal');
});
