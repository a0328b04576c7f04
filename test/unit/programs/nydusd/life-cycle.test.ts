import { expect, it } from 'vitest';
import { LifeCycle } from '../../../../src/programs/nydusd/life-cycle.ts';

it('goes from INIT to STOPPED, and takes no step that its state does not have', () => {
  const life = new LifeCycle();
  expect(() => life.step('Start')).toThrow(
    expect.objectContaining({ code: 'LIFE_UNEXPECTED_EVENT', about: 'Start' }),
  );
  expect(life.state).toBe('INIT');
  for (const [event, state] of [
    ['Mount', 'READY'],
    ['Start', 'RUNNING'],
    ['Exit', 'STOPPED'],
  ] as const) {
    life.step(event);
    expect(life.state).toBe(state);
  }
  expect(() => life.step('Exit')).toThrow('the daemon is STOPPED, which has no Exit');
});
