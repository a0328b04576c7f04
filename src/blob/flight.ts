import { PATIENT } from '../lib/deadline.ts';
import type { Gate } from '../lib/gate.ts';
import type { Chunk } from './chunk-table.ts';
import { type Landed, type LandingFile, type LandParts, landUnit } from './land.ts';
import type { PlannedUnit, Run } from './plan.ts';
import { isMoreUrgent, type Priority, type ReadOptions, type SourceError } from './source.ts';

/** What flights of one blob have in common. */
interface FlightParts extends LandParts {
  /** The uncompressed cache file; null where there is none, or where it has stored bytes. */
  readonly file: LandingFile;
  /** Keeps a unit's stored bytes; null where that is not asked for. Resolves with the error of the file, null: kept. */
  readonly keepStored: ((offset: number, bytes: Uint8Array) => Promise<Error | null>) | null;
  /** Units that are decoded at a time, over all blobs. */
  readonly landings: Readonly<Record<Priority, Gate>>;
  readonly read: (offset: number, into: Uint8Array, options: ReadOptions) => Promise<void>;
  /** How many back ends a read may try. */
  readonly sourceCount: () => number;
  /** A chunk has come, or came wrong; `writeError`: it is not in the cache. */
  readonly onLanded: (landed: Landed) => void;
  readonly onFailed: (chunk: Chunk, error: unknown) => void;
}

const interrupted = () => new Error('the wait for a place was given up for a better one');

/**
 * One read of a back end and what becomes of its units, each as soon as its bytes are there: who waits for the first
 * chunk of a long run does not wait for the last.
 */
export class Flight {
  readonly run: Run;
  readonly #parts: FlightParts;
  readonly #deadlineMs: number;
  readonly #landings: Promise<void>[] = [];
  #priority: Priority;
  /** The present try of the read. */
  #attempt = new AbortController();
  /** Ends the waits of units for their landing, which then wait with the present priority. */
  #landingWaits = new AbortController();
  #isStarted = false;
  #isCancelled = false;
  /** The read has failed: what a back end that was left behind tells later is not listened to. */
  #isOver = false;
  /** Units that landed or are landing; they lie in the order of their bytes. */
  #landedUnits = 0;

  constructor(parts: FlightParts, run: Run, priority: Priority, deadlineMs: number) {
    this.#parts = parts;
    this.run = run;
    this.#priority = priority;
    this.#deadlineMs = deadlineMs;
  }

  /** Somebody who is more urgent waits for it now: where it waits for its turn, it does so in the faster lane. */
  promote(priority: Priority): void {
    if (!isMoreUrgent(priority, this.#priority)) return;
    this.#priority = priority;
    if (!this.#isStarted) this.#attempt.abort();
    const waits = this.#landingWaits;
    this.#landingWaits = new AbortController();
    waits.abort();
  }

  /** Nobody waits for it any more. What has been read lands still. */
  cancel(): void {
    this.#isCancelled = true;
    this.#attempt.abort();
  }

  /** Resolves when every chunk of the run has been reported and nothing touches the cache any more. */
  async fly(): Promise<void> {
    try {
      await this.#read();
    } catch (error) {
      this.#isOver = true;
      for (const { chunks } of this.run.units.slice(this.#landedUnits)) {
        for (const chunk of chunks) this.#parts.onFailed(chunk, error);
      }
    }
    await Promise.all(this.#landings);
  }

  /** Reads until a back end has given all, each time into a buffer to which nobody that was left behind writes. */
  async #read(): Promise<void> {
    for (let failures = 0; ; ) {
      const priority = this.#priority;
      const attempt = this.#attempt;
      const bytes = Buffer.allocUnsafeSlow(this.run.end - this.run.start);
      try {
        await this.#parts.read(this.run.start, bytes, {
          priority,
          deadlineMs: this.#deadlineMs,
          signal: attempt.signal,
          onStart: () => {
            this.#isStarted = true;
          },
          onBytes: (filled) => {
            if (attempt === this.#attempt) this.#land(bytes, filled);
          },
        });
        this.#land(bytes, bytes.length);
        return;
      } catch (error) {
        const isPromoted = !this.#isStarted && priority !== this.#priority;
        // Aborted, but not by us: its mount went, and others may read on.
        const isOrphaned = (error as SourceError).code === 'SOURCE_ABORTED' && !attempt.signal.aborted;
        if (!isPromoted && !isOrphaned) failures++;
        if (!this.#mayTryAgain(failures)) throw error;
        this.#attempt = new AbortController();
        this.#isStarted = false;
      }
    }
  }

  #mayTryAgain(failures: number): boolean {
    const sources = this.#parts.sourceCount();
    return !this.#isCancelled && failures < sources && performance.now() < this.#deadlineMs;
  }

  /** Lands the units whose bytes are there. */
  #land(bytes: Uint8Array, filled: number): void {
    const { start, units } = this.run;
    if (this.#isOver) return;
    for (; this.#landedUnits < units.length; this.#landedUnits++) {
      const planned = units[this.#landedUnits]!;
      const at = planned.unit.start - start;
      if (at + planned.unit.size > filled) return;
      this.#landings.push(this.#landOne(planned, bytes.subarray(at, at + planned.unit.size)));
    }
  }

  async #landOne({ unit, chunks }: PlannedUnit, stored: Uint8Array): Promise<void> {
    const { file, keepStored, onLanded, onFailed } = this.#parts;
    const leave = await this.#landingPlace();
    try {
      const landed = await landUnit(this.#parts, unit, chunks, stored, file);
      const isAnyGood = landed.some(({ error }) => error === null);
      const writeError = keepStored !== null && isAnyGood ? await keepStored(unit.start, stored) : null;
      for (const one of landed) onLanded(writeError === null ? one : { ...one, writeError });
    } catch (error) {
      for (const chunk of chunks) onFailed(chunk, error);
    } finally {
      leave();
    }
  }

  async #landingPlace(): Promise<() => void> {
    for (;;) {
      const { signal } = this.#landingWaits;
      try {
        return await this.#parts.landings[this.#priority].enter({ ...PATIENT, signal }, interrupted);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
  }
}
