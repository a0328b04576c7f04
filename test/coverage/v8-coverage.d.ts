declare module '@bcoe/v8-coverage' {
  import type { Profiler } from 'node:inspector';

  /** Merges what several processes recorded of one script; the inputs must not be used afterwards. */
  export function mergeScriptCovs(scripts: Profiler.ScriptCoverage[]): Profiler.ScriptCoverage | undefined;
}
