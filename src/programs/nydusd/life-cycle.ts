import { ControlError, type DaemonState } from '../../service/nydusd/control.ts';

type LifeEvent = 'Mount' | 'Start' | 'Exit';

/** From state and event to state (service/src/daemon.rs of upstream). */
const transitions: Readonly<Record<DaemonState, Partial<Record<LifeEvent, DaemonState>>>> = {
  INIT: { Mount: 'READY', Exit: 'STOPPED' },
  READY: { Start: 'RUNNING', Exit: 'STOPPED' },
  RUNNING: { Exit: 'STOPPED' },
  STOPPED: {},
};

/** The daemon's life cycle. */
export class LifeCycle {
  #state: DaemonState = 'INIT';

  get state(): DaemonState {
    return this.#state;
  }

  /** Takes the step. Throws LIFE_UNEXPECTED_EVENT. */
  step(event: LifeEvent): void {
    const next = transitions[this.#state][event];
    if (next === undefined) {
      const reason = `the daemon is ${this.#state}, which has no ${event}`;
      throw new ControlError('LIFE_UNEXPECTED_EVENT', event, reason);
    }
    this.#state = next;
  }
}
