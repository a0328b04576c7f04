import type { Chunk, Unit } from './chunk-table.ts';

/** A gap of at most 1/128 of a read may be read with it. storage/src/cache/mod.rs. */
const GAP_SHIFT = 7;
/** Uncompressed bytes of one run, beyond its first unit: bounds the memory of runs that expand greatly. */
const RUN_UNCOMPRESSED_BYTES_MAX = 8 << 20;

/** A unit to be read, with the chunks that are wanted of it. */
export interface PlannedUnit {
  readonly unit: Unit;
  readonly chunks: Chunk[];
}

/** One read of the back end: `units` in order of their place, within [start, end). */
export interface Run {
  readonly start: number;
  end: number;
  readonly units: PlannedUnit[];
}

/** Groups chunks by unit and merges near units into runs of about `mergeBytes`. */
export function planRuns(chunks: Iterable<Chunk>, mergeBytes: number): Run[] {
  const units = new Map<Unit, PlannedUnit>();
  for (const chunk of chunks) {
    const known = units.get(chunk.unit);
    if (known) known.chunks.push(chunk);
    else units.set(chunk.unit, { unit: chunk.unit, chunks: [chunk] });
  }
  const sorted = [...units.values()].sort((a, b) => a.unit.start - b.unit.start);
  const runs: Run[] = [];
  let run: Run | undefined;
  let expanded = 0;
  for (const planned of sorted) {
    const { start, size, uncompressedSize } = planned.unit;
    if (
      run &&
      run.end - run.start < mergeBytes &&
      isNear(run, start) &&
      expanded + uncompressedSize <= RUN_UNCOMPRESSED_BYTES_MAX
    ) {
      run.end = Math.max(run.end, start + size);
      run.units.push(planned);
      expanded += uncompressedSize;
    } else {
      run = { start, end: start + size, units: [planned] };
      runs.push(run);
      expanded = uncompressedSize;
    }
  }
  return runs;
}

/** Whether bytes at `start` may be read with the run. */
function isNear(run: Run, start: number): boolean {
  return start <= run.end + (run.end - run.start) / 2 ** GAP_SHIFT;
}

/** Whether reading on from `end` may include a unit at `start`, when `size` bytes are read already. */
export function isContiguous(end: number, start: number, size: number): boolean {
  return start >= end ? start - end <= size / 2 ** GAP_SHIFT : true;
}
