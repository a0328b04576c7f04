import { expect, it } from 'vitest';
import type { Patience } from '../../../src/lib/deadline.ts';
import { Gate } from '../../../src/lib/gate.ts';

const PATIENT: Patience = { deadlineMs: Number.POSITIVE_INFINITY, signal: null };
const error = (why: string) => new Error(why);
const turn = () => new Promise((resolve) => setImmediate(resolve));

it('at most as many are inside as there are places; the others come in order', async () => {
  const gate = new Gate(2);
  const order: number[] = [];
  const leaves: (() => void)[] = [];
  for (let i = 0; i < 4; i++) {
    void gate.enter(PATIENT, error).then((leave) => {
      order.push(i);
      leaves.push(leave);
    });
  }
  await turn();
  expect(order).toEqual([0, 1]);
  expect(gate.waiting).toBe(2);
  leaves[0]!();
  await turn();
  expect(order).toEqual([0, 1, 2]);
  leaves[1]!();
  await turn();
  expect(order).toEqual([0, 1, 2, 3]);
});

it('a place that is given back twice is one place', async () => {
  const gate = new Gate(1);
  const leave = await gate.enter(PATIENT, error);
  leave();
  leave();
  const second = await gate.enter(PATIENT, error);
  let entered = false;
  void gate.enter(PATIENT, error).then(() => {
    entered = true;
  });
  await turn();
  expect(entered).toBe(false);
  second();
  await turn();
  expect(entered).toBe(true);
});

it('who gives up while waiting takes no place', async () => {
  const gate = new Gate(1);
  const leave = await gate.enter(PATIENT, error);
  const abort = new AbortController();
  const impatient = gate.enter({ ...PATIENT, signal: abort.signal }, error);
  const patient = gate.enter(PATIENT, error);
  abort.abort();
  await expect(impatient).rejects.toThrow('signal');
  leave();
  await patient;
  expect(gate.waiting).toBe(0);
});

it('a place that comes at the moment of giving up goes to the next', async () => {
  const gate = new Gate(1);
  const leave = await gate.enter(PATIENT, error);
  const abort = new AbortController();
  const impatient = gate.enter({ ...PATIENT, signal: abort.signal }, error);
  const patient = gate.enter(PATIENT, error);
  leave();
  abort.abort();
  await expect(impatient).rejects.toThrow('signal');
  await patient;
});

it('who comes too late is refused, place or not', async () => {
  const gate = new Gate(1);
  await expect(gate.enter({ deadlineMs: performance.now() - 1, signal: null }, error)).rejects.toThrow(
    'deadline',
  );
  await expect(gate.enter({ ...PATIENT, signal: AbortSignal.abort() }, error)).rejects.toThrow('signal');
  await gate.enter(PATIENT, error);
});

it('the place of work that fails is given back', async () => {
  const gate = new Gate(1);
  const failing = gate.run(PATIENT, error, () => Promise.reject(new Error('broken')));
  await expect(failing).rejects.toThrow('broken');
  expect(await gate.run(PATIENT, error, async () => 'next')).toBe('next');
});
