/**
 * How many calls a back end gets at a time. Each place has lanes of its own, one for each priority: a back end that
 * hangs fills its own lanes and no other's, and a guest's read never waits for one that nobody asked for.
 */
import { gaveUp, within } from '../lib/deadline.ts';
import { Gate } from '../lib/gate.ts';
import {
  type BlobSource,
  impatient,
  type Priority,
  priorities,
  type ReadOptions,
  UNHURRIED,
} from './source.ts';

/** Calls at a time: for a place and a priority. */
type LaneLimits = Readonly<Record<Priority, number>>;

export const LANE_LIMITS: LaneLimits = { demand: 8, readahead: 4, prefetch: 4 };

type Gates = Readonly<Record<Priority, Gate>>;

/** A place, kept while a source leads to it or a call has not come back: calls that hang go on counting. */
interface Place {
  readonly gates: Gates;
  sources: number;
  calls: number;
}

/** A gate for each priority. */
export function gatesOf(limits: LaneLimits): Gates {
  const [demand, readahead, prefetch] = priorities.map((priority) => new Gate(limits[priority]));
  return { demand: demand!, readahead: readahead!, prefetch: prefetch! };
}

/** The lanes of all places that somebody uses. */
export class Lanes {
  readonly #limits: LaneLimits;
  readonly #places = new Map<string, Place>();

  constructor(limits: LaneLimits = LANE_LIMITS) {
    this.#limits = limits;
  }

  /** The source behind the lanes of its place. Its `close` gives the lanes back and leaves the source open. */
  lead(source: BlobSource): BlobSource {
    const name = source.place;
    const place = this.#places.get(name) ?? { gates: gatesOf(this.#limits), sources: 0, calls: 0 };
    this.#places.set(name, place);
    place.sources++;
    return new LaneSource(source, place, () => {
      if (place.sources === 0 && place.calls === 0) this.#places.delete(name);
    });
  }
}

/**
 * A caller is answered at its deadline whatever the back end does. The place in the lane is given back when the back
 * end is done: calls that hang keep theirs, so that at most a lane's worth of them hang.
 */
class LaneSource implements BlobSource {
  readonly kind: string;
  readonly place: string;
  readonly #inner: BlobSource;
  readonly #lanes: Place;
  readonly #onIdle: () => void;

  /** `onIdle` is told whenever a call came back or the source was closed. */
  constructor(inner: BlobSource, lanes: Place, onIdle: () => void) {
    this.kind = inner.kind;
    this.place = inner.place;
    this.#inner = inner;
    this.#lanes = lanes;
    this.#onIdle = onIdle;
  }

  size(objectId: string, options: ReadOptions = UNHURRIED): Promise<number> {
    return this.#run(objectId, options, () => this.#inner.size(objectId, options));
  }

  /** Rejected, `into` may still be written to: it is not used again. */
  read(objectId: string, offset: number, into: Uint8Array, options: ReadOptions = UNHURRIED): Promise<void> {
    return this.#run(objectId, options, () => this.#inner.read(objectId, offset, into, options));
  }

  openLocal(objectId: string, options: ReadOptions = UNHURRIED): Promise<number | null> {
    return this.#run(objectId, options, () => this.#inner.openLocal(objectId, options));
  }

  async close(): Promise<void> {
    this.#lanes.sources--;
    this.#onIdle();
  }

  async #run<T>(objectId: string, options: ReadOptions, call: () => Promise<T>): Promise<T> {
    const error = impatient(`blob ${objectId}: ${this.place}`);
    const leave = await this.#lanes.gates[options.priority].enter(options, error);
    // Who gave up at the very moment must not be told that it began.
    const why = gaveUp(options);
    if (why !== null) {
      leave();
      throw error(why);
    }
    options.onStart?.();
    this.#lanes.calls++;
    const called = call().finally(() => {
      leave();
      this.#lanes.calls--;
      this.#onIdle();
    });
    return within(called, options, error);
  }
}
