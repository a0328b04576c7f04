import { readdirSync, readFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mergeScriptCovs } from '@bcoe/v8-coverage';
import { repository } from '../../vm/process.ts';

/** Scripts merged in one go: bounds memory, a run leaves hundreds of records of half a megabyte. */
const MERGE_BATCH = 64;

/** How often a record that a process has not written to its end is looked at again. */
const READ_ATTEMPTS = 20;
const READ_INTERVAL_MS = 250;

function read(file: string): Profiler.ScriptCoverage[] {
  for (let attempt = 1; ; attempt++) {
    try {
      return (JSON.parse(readFileSync(file, 'utf8')) as { result: Profiler.ScriptCoverage[] }).result;
    } catch (error) {
      if (attempt === READ_ATTEMPTS) throw new Error(`${file} is no whole record`, { cause: error });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, READ_INTERVAL_MS);
    }
  }
}

/**
 * What all records of a run say of the files of `src`, by path relative to the repository.
 * Throws for a record without block counters, which would claim every line of a function that was entered.
 */
export function readRecords(directory: string): Map<string, Profiler.ScriptCoverage> {
  const prefix = `${pathToFileURL(join(repository, 'src')).href}/`;
  const batches = new Map<string, Profiler.ScriptCoverage[]>();
  for (const name of readdirSync(directory)) {
    if (!name.endsWith('.json')) continue;
    for (const script of read(join(directory, name))) {
      if (!script.url.startsWith(prefix)) continue;
      for (const { functionName, isBlockCoverage, ranges } of script.functions) {
        if (!isBlockCoverage && ranges.some((range) => range.count > 0)) {
          throw new Error(`${name}: ${functionName} of ${script.url} was counted as a whole`);
        }
      }
      const batch = batches.get(script.url) ?? [];
      if (batch.length === 0) batches.set(script.url, batch);
      batch.push(script);
      if (batch.length === MERGE_BATCH) batch.splice(0, MERGE_BATCH, mergeScriptCovs([...batch])!);
    }
  }
  const merged = new Map<string, Profiler.ScriptCoverage>();
  for (const [url, batch] of batches)
    merged.set(relative(repository, fileURLToPath(url)), mergeScriptCovs(batch)!);
  return merged;
}
