import { modules } from './graph.ts';
import type { Module } from './modules.ts';
import { extent } from './sizes.ts';
import { sources } from './sources.ts';

/** Which rooms of `src` a room may import, itself aside. Type-only imports count: they are knowledge, too. */
export const MAY_IMPORT: Record<string, readonly string[]> = {
  lib: [],
  wire: ['lib'],
  native: ['lib'],
  vhost: ['lib', 'wire', 'native'],
  fuse: ['lib', 'wire'],
  transport: ['lib', 'wire', 'native', 'vhost', 'fuse'],
  vfs: ['lib', 'wire', 'fuse'],
  rafs: ['lib', 'wire', 'native'],
  imagefs: ['lib', 'wire', 'native', 'fuse', 'rafs', 'blob'],
  blob: ['lib', 'wire', 'native'],
  source: ['lib', 'wire', 'native', 'blob', 'http'],
  http: ['lib'],
  config: ['lib'],
  'image/model': ['lib', 'wire', 'native', 'rafs'],
  'image/source': ['wire', 'native', 'image/model'],
  'image/source/tar': ['wire', 'native', 'image/model', 'image/source'],
  'image/source/archive': ['lib', 'wire', 'native', 'image/model', 'image/source/tar'],
  'image/blob': ['lib', 'wire', 'native', 'image/model', 'image/source'],
  'image/blob/archive': [
    ...['lib', 'wire', 'native', 'image/model', 'image/source', 'image/source/archive', 'image/blob'],
  ],
  'image/bootstrap': ['lib', 'wire', 'native', 'image/model'],
  // Images are read back through the same checked reader and sources that serve them.
  'image/read': ['lib', 'wire', 'native', 'rafs', 'blob', 'source', 'image/model'],
  'image/rewrite': [...['lib', 'wire', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read']],
  'image/create': [
    ...[
      'lib',
      'wire',
      'rafs',
      'blob',
      'image/model',
      'image/source',
      'image/source/tar',
      'image/source/archive',
    ],
    ...['image/blob', 'image/blob/archive', 'image/bootstrap', 'image/read'],
  ],
  'image/merge': [
    ...['lib', 'wire', 'rafs', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read'],
  ],
  'image/compact': [
    ...['lib', 'wire', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read', 'image/rewrite'],
  ],
  'image/optimize': [
    ...['lib', 'wire', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read', 'image/rewrite'],
  ],
  'image/dictionary': ['wire', 'image/model', 'image/blob', 'image/bootstrap', 'image/read'],
  'image/check': ['lib', 'wire', 'native', 'rafs', 'blob', 'image/model', 'image/read'],
  'image/inspect': ['wire', 'rafs', 'image/model', 'image/read'],
  'image/unpack': ['lib', 'wire', 'native', 'rafs', 'blob', 'image/model', 'image/read'],
  'image/export': ['lib', 'rafs', 'blob', 'image/model', 'image/read'],
  service: ['lib', 'wire', 'http'],
  'programs/common': ['lib', 'native'],
  // The control thread joins everything. Of FUSE it knows the layout of the counters.
  'programs/nydusd': [
    ...['lib', 'wire', 'native', 'vhost', 'fuse', 'rafs', 'config', 'http', 'service'],
    ...['programs/common', 'programs/nydusd/storage', 'programs/nydusd/workers'],
  ],
  'programs/nydusd/storage': ['lib', 'wire', 'native', 'rafs', 'blob', 'source', 'config'],
  'programs/nydusd/workers': [
    ...['lib', 'wire', 'native', 'vhost', 'fuse', 'transport', 'vfs', 'rafs', 'imagefs', 'blob'],
  ],
  cli: ['programs/common', 'programs/nydusd', 'cli/image', 'lib'],
  'cli/image': [
    ...[
      'lib',
      'config',
      'programs/common',
      'image/model',
      'image/source',
      'image/source/tar',
      'image/blob',
      'image/read',
      'image/create',
    ],
    ...['image/merge', 'image/compact', 'image/optimize', 'image/dictionary', 'image/check', 'image/inspect'],
    ...['image/unpack', 'image/export'],
  ],
};

/** The row that a file belongs to: the longest that its path begins with. */
export function room(path: string): string {
  const parts = path.split('/').slice(1, -1);
  for (let length = parts.length; length > 0; length--) {
    const name = parts.slice(0, length).join('/');
    if (name in MAY_IMPORT) return name;
  }
  return parts.join('/');
}

/** Whether the table lets one room import another. */
export function allowed(from: string, to: string): boolean {
  return from === to || (MAY_IMPORT[from]?.includes(to) ?? false);
}

/** The files of ours that a file imports or names. */
export function references({ imports, names }: Module): string[] {
  return [...new Set([...imports.map(({ target }) => target), ...names])];
}

/** What a room holds and uses. */
export interface Room {
  readonly name: string;
  readonly files: number;
  readonly lines: number;
  /** The other rooms that its files import or name. */
  readonly imports: readonly string[];
}

/** The rooms of `src`, in the order of the table. */
export function rooms(): Room[] {
  const names = [...new Set([...Object.keys(MAY_IMPORT), ...sources.map(({ path }) => room(path))])];
  return names.map((name) => {
    const own = sources.filter(({ path }) => room(path) === name);
    const targets = own.flatMap(({ path }) => references(modules.get(path)!)).map(room);
    return {
      name,
      files: own.length,
      lines: own.reduce((sum, file) => sum + extent(file).lines, 0),
      imports: names.filter((other) => other !== name && targets.includes(other)),
    };
  });
}
