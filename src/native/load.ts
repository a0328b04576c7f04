import { constants } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Addon } from './addon.ts';

/** `build/nydus.node` of the repository: this file runs from below `src`, or bundled from a folder of the top level. */
function builtAddon(): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  let folder = here;
  while (path.basename(folder) !== 'src' && path.dirname(folder) !== folder) folder = path.dirname(folder);
  const root = path.basename(folder) === 'src' ? path.dirname(folder) : path.resolve(here, '..');
  return path.join(root, 'build', 'nydus.node');
}

/**
 * Loads the addon: `file`, else what the environment variable NYDUS_ADDON names (tests use it for the address-sanitizer
 * build), else `build/nydus.node`. Throws an Error with code ADDON_NOT_LOADED that says how to build it.
 */
export function loadAddon(file: string = process.env.NYDUS_ADDON ?? builtAddon()): Addon {
  const module: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(module as NodeJS.Module, file, constants.dlopen.RTLD_NOW);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = new Error(`cannot load the addon ${file} (${reason}); \`npm run build\` builds it`, {
      cause,
    });
    throw Object.assign(error, { code: 'ADDON_NOT_LOADED' });
  }
  return module.exports as Addon;
}
