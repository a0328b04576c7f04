/** Builds fixtures anew, from the same source with the same arguments as the original was given. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { ImagePlace } from './image-place.ts';
import { sourceOf } from './images.ts';
import { FIXTURES } from './rafs-fixtures.ts';

const PROGRAM = join(import.meta.dirname, '../../bin/nydus-image');
const STANDARD_INPUT = '# standard input:';
/** What no tar can carry. */
const SOCKET = { path: 'usr/socket', mtime: '1700086441.050617247' };

/** How a fixture was made. */
export interface Recipe {
  readonly command: string;
  /** Without the sources. */
  readonly args: readonly string[];
  /** Names below `sources/`, or `@X` for the bootstrap of image X. */
  readonly sources: readonly string[];
  readonly input: string;
}

/** A fixture's recipe. */
export function recipeOf(root: string, name: string): Recipe {
  const lines = readFileSync(join(root, 'images', name, 'args'), 'utf8')
    .trimEnd()
    .split('\n');
  const at = lines.indexOf(STANDARD_INPUT);
  const [command, ...rest] = at < 0 ? lines : lines.slice(0, at);
  const input = at < 0 ? '' : `${lines.slice(at + 1).join('\n')}\n`;
  const count = command === 'merge' ? rest.filter((arg) => arg.startsWith('@')).length : 1;
  return { command: command!, args: rest.slice(0, -count), sources: rest.slice(-count), input };
}

/** Names of sources or images which the recipe needs and `root` does not have. */
export function missingInputs(root: string, { args, sources }: Recipe): string[] {
  const images = [...args, ...sources].flatMap((arg) => /@(.+)$/.exec(arg)?.[1] ?? []);
  const trees = sources.filter((source) => !source.startsWith('@'));
  return [
    ...images.filter((image) => !existsSync(join(root, 'images', image, 'args'))),
    ...trees.filter((source) => packed(root, source) === null),
  ];
}

/** The original's image. */
export function originalPlace(root: string, name: string): ImagePlace {
  return { bootstrap: sourceOf(root, name), blobDirs: [join(root, 'blobs')] };
}

/** What a build said and left. */
export interface Built {
  readonly code: number | null;
  readonly stderr: string;
  /** Of --output-json. */
  readonly json: { readonly blobs: readonly string[]; readonly [field: string]: unknown };
  readonly place: ImagePlace;
}

/** Runs the recipe of `name` into a directory of its own below `work`. */
export function build(root: string, name: string, work: string): Built {
  const recipe = recipeOf(root, name);
  const out = join(work, name);
  mkdirSync(out, { recursive: true });
  const bootstrap = join(out, 'image.boot');
  const json = join(out, 'out.json');
  const inline = recipe.args.includes('--blob-inline-meta');
  const outputs = [...(inline ? [] : ['-B', bootstrap]), '-J', json];
  const blobs = recipe.command === 'create' ? ['-D', join(out, 'blobs')] : [];
  const args = recipe.args.map((arg) =>
    arg.replace(/@(.+)$/, (_, image: string) => baseBootstrap(root, image, work)),
  );
  const sources = recipe.sources.map((source) =>
    source.startsWith('@') ? baseBootstrap(root, source.slice(1), work) : sourcePath(root, source, work),
  );
  const run = spawnSync(PROGRAM, [recipe.command, ...args, ...outputs, ...blobs, ...sources], {
    encoding: 'utf8',
    input: recipe.input,
  });
  const text = existsSync(json) ? readFileSync(json, 'utf8') : '{"blobs":[]}';
  const said = JSON.parse(text) as Built['json'];
  // Of an image over an archive that is the meta blob, which the summary does not name.
  const found = inline ? join(out, 'blobs', onlyFile(join(out, 'blobs'))) : bootstrap;
  return {
    code: run.status,
    stderr: run.stderr,
    json: said,
    place: { bootstrap: found, blobDirs: [join(out, 'blobs'), join(root, 'blobs')] },
  };
}

function onlyFile(directory: string): string {
  const files = existsSync(directory) ? readdirSync(directory) : [];
  return files.length === 1 ? files[0]! : 'none';
}

/** A copy of an image's bootstrap, named by its blob: `merge` takes a layer's blob id from the file's name. */
function baseBootstrap(root: string, image: string, work: string): string {
  const json = JSON.parse(readFileSync(join(root, 'images', image, 'out.json'), 'utf8')) as Built['json'];
  const path = join(work, 'bases', image, json.blobs.at(-1) ?? image);
  mkdirSync(join(path, '..'), { recursive: true });
  copyFileSync(sourceOf(root, image), path);
  return path;
}

/** A file of `sources/`, as it is or gzipped: null if there is neither. */
function packed(root: string, source: string): string | null {
  const tree = /\.(tar|tar\.gz|estargz)$/.test(source) ? source : `${source}.tar`;
  for (const directory of [root, FIXTURES])
    for (const file of [tree, `${tree}.gz`])
      if (existsSync(join(directory, 'sources', file))) return join(directory, 'sources', file);
  return null;
}

/** The source as the build takes it: a directory that has been unpacked, or a tar. Made once for each `work`. */
export function sourcePath(root: string, source: string, work: string): string {
  const file = packed(root, source)!;
  const path = join(work, 'sources', source);
  if (existsSync(path)) return path;
  mkdirSync(join(work, 'sources'), { recursive: true });
  if (/\.(tar|tar\.gz|estargz)$/.test(source)) {
    const bytes = readFileSync(file);
    writeFileSync(path, file.endsWith(source) ? bytes : gunzipSync(bytes));
    return path;
  }
  mkdirSync(path);
  const how = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf'];
  execFileSync('tar', [...how, file, '-C', path], { stdio: 'ignore' });
  if (source === 'small') addSocket(path);
  return path;
}

/** A socket in `tree`, which stays as long as this process does; its directory's time is put back. */
function addSocket(tree: string): void {
  const path = join(tree, SOCKET.path);
  const parent = join(path, '..');
  const { mtimeNs } = lstatSync(parent, { bigint: true });
  createServer().listen(path).unref();
  execFileSync('chmod', ['0755', path]);
  execFileSync('touch', ['-d', `@${SOCKET.mtime}`, path]);
  execFileSync('touch', [
    '-d',
    `@${Number(mtimeNs / 1_000_000_000n)}.${String(mtimeNs % 1_000_000_000n).padStart(9, '0')}`,
    parent,
  ]);
}
