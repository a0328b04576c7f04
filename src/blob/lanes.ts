/**
 * How many calls a back end gets at a time. Each place has lanes of its own, one for each priority: a back end that
 * hangs fills its own lanes and no other's, and a guest's read never waits for one that nobody asked for.
 */
import { type Patience, within } from '../lib/deadline.ts';
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

/** A gate for each priority. */
export function gatesOf(limits: LaneLimits): Gates {
  const [demand, readahead, prefetch] = priorities.map((priority) => new Gate(limits[priority]));
  return { demand: demand!, readahead: readahead!, prefetch: prefetch! };
}

/** The lanes of all places that somebody uses. */
export class Lanes {
  readonly #limits: LaneLimits;
  readonly #places = new Map<string, { gates: Gates; users: number }>();

  constructor(limits: LaneLimits = LANE_LIMITS) {
    this.#limits = limits;
  }

  /** The source behind the lanes of its place. Its `close` gives the lanes back and leaves the source open. */
  lead(source: BlobSource): BlobSource {
    let place = this.#places.get(source.place);
    if (place === undefined) {
      place = { gates: gatesOf(this.#limits), users: 0 };
      this.#places.set(source.place, place);
    }
    place.users++;
    const { gates } = place;
    return new LaneSource(source, gates, () => this.#leave(source.place));
  }

  #leave(name: string): void {
    const place = this.#places.get(name);
    if (place !== undefined && --place.users === 0) this.#places.delete(name);
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
  readonly #gates: Gates;
  readonly #onClose: () => void;

  constructor(inner: BlobSource, gates: Gates, onClose: () => void) {
    this.kind = inner.kind;
    this.place = inner.place;
    this.#inner = inner;
    this.#gates = gates;
    this.#onClose = onClose;
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
    this.#onClose();
  }

  async #run<T>(objectId: string, options: ReadOptions, call: () => Promise<T>): Promise<T> {
    const error = impatient(`blob ${objectId}: ${this.place}`);
    const patience: Patience = options;
    const leave = await this.#gates[options.priority].enter(patience, error);
    options.onStart?.();
    return within(call().finally(leave), patience, error);
  }
}
