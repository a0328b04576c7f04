import { readFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import convert from 'ast-v8-to-istanbul';
import { parseSync } from 'vite';
import { repository } from '../../vm/process.ts';

/** How many there are and how many of them were executed at least once. */
export interface Count {
  total: number;
  covered: number;
}

/** The counts of one file, by istanbul's definitions. */
export interface FileCount {
  /** Relative to the repository. */
  readonly path: string;
  readonly statements: Count;
  readonly branches: Count;
  readonly functions: Count;
}

const count = (hits: readonly number[]): Count => ({
  total: hits.length,
  covered: hits.filter((times) => times > 0).length,
});

/** Counts `paths`; one that no process loaded counts as not executed. */
export async function countFiles(
  paths: readonly string[],
  scripts: ReadonlyMap<string, Profiler.ScriptCoverage>,
): Promise<FileCount[]> {
  const counts: FileCount[] = [];
  for (const path of paths) {
    const file = join(repository, path);
    // What Node ran: types are blanked, so that every offset stays.
    const code = stripTypeScriptTypes(readFileSync(file, 'utf8'));
    const { program, errors } = parseSync(file.replace(/\.ts$/, '.js'), code);
    if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
    const url = pathToFileURL(file).href;
    const functions = scripts.get(path)?.functions ?? [];
    const converted = await convert({ code, ast: program as never, coverage: { url, functions } });
    const data = converted[file];
    counts.push({
      path,
      statements: count(Object.values(data?.s ?? {})),
      branches: count(Object.values(data?.b ?? {}).flat()),
      functions: count(Object.values(data?.f ?? {})),
    });
  }
  return counts;
}
