/**
 * Usage: node blanked.ts DIRECTORY. Writes every file of `src` into the directory as Node runs it: types are blanks, so
 * that every offset stays, and the address that Node adds is at the end.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { repository } from '../../vm/process.ts';
import { sources } from '../tidy/sources.ts';

for (const { path, text } of sources) {
  const to = join(process.argv[2]!, relative('src', path));
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(
    to,
    `${stripTypeScriptTypes(text)}\n\n//# sourceURL=${pathToFileURL(join(repository, path)).href}`,
  );
}
