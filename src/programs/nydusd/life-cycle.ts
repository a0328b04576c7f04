import { ControlError, type DaemonState } from '../../service/nydusd/control.ts';

type LifeEvent = 'Mount' | 'Start' | 'Stop' | 'Exit' | 'Takeover';

/** From state and event to state (service/src/daemon.rs of upstream). */
const transitions: Readonly<Record<DaemonState, Partial<Record<LifeEvent, DaemonState>>>> = {
  INIT: { Mount: 'READY', Takeover: 'READY', Stop: 'STOPPED', Exit: 'STOPPED' },
  READY: { Start: 'RUNNING', Stop: 'STOPPED', Exit: 'STOPPED' },
  RUNNING: { Stop: 'READY', Exit: 'STOPPED' },
  STOPPED: {},
  UNKNOWN: {},
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
