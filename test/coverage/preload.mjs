/**
 * Loaded before anything else into every process whose coverage is measured: gives it the sources of `src` with their
 * types already blanked. Node's compile cache, which would spare it that work, has to be off (see provider.ts).
 * JavaScript, so that Node need not prepare itself for TypeScript.
 */
import { readFileSync } from 'node:fs';
import * as module from 'node:module';

const from = process.env.NYDUS_COVERAGE_SOURCES;
const to = new URL(process.env.NYDUS_COVERAGE_BLANKED);

// The host's own node, which starts npm in some tests, may be too old for hooks; it runs nothing of ours.
module.registerHooks?.({
  load(url, context, next) {
    if (!url.startsWith(from) || !url.endsWith('.ts')) return next(url, context);
    const source = readFileSync(new URL(url.slice(from.length), to), 'utf8');
    return { format: 'module', shortCircuit: true, source };
  },
});
