import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ImageError, reason } from '../model/error.ts';

/** Bytes of a file that are wanted early. */
export interface ByteRange {
  readonly offset: number;
  readonly size: number;
}

/** A file of an access list. */
export interface AccessedFile {
  /** Absolute path in the image. */
  readonly path: string;
  /** Null: the whole file. */
  readonly ranges: readonly ByteRange[] | null;
}

const VERSION = 'v1';
const bytes = z.number().int().nonnegative();
/** The access list, JSON. builder/src/optimize_prefetch.rs; members it does not name are ignored. */
const listSchema = z.object({
  version: z.string(),
  files: z.array(z.object({ path: z.string(), ranges: z.array(z.tuple([bytes, bytes])).nullish() })),
});

/**
 * Reads the access list in the file at `path`, in its order. An empty file lists nothing; paths that are not absolute
 * are left out and given to `onSkipped`. Throws ImageError that names the file and the member.
 */
export function readAccessList(path: string, onSkipped: (message: string) => void): AccessedFile[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ImageError('IMAGE_UNREADABLE', `${path}: ${reason(cause)}`, { cause });
  }
  if (text.trim() === '') return [];
  const files: AccessedFile[] = [];
  for (const file of parse(path, text).files) {
    const ranges = file.ranges?.map(([offset, size]) => ({ offset, size })) ?? null;
    if (file.path.startsWith('/')) files.push({ path: file.path, ranges });
    else onSkipped(`${path}: ${JSON.stringify(file.path)} is not an absolute path and is left out`);
  }
  return files;
}

function parse(path: string, text: string): z.infer<typeof listSchema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ImageError('IMAGE_BAD_SOURCE', `${path}: not JSON: ${reason(cause)}`, { cause });
  }
  const parsed = listSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new ImageError(
      'IMAGE_BAD_SOURCE',
      `${path}: ${issue.path.join('.') || 'the list'}: ${issue.message}`,
    );
  }
  if (parsed.data.version !== VERSION) {
    const found = JSON.stringify(parsed.data.version);
    throw new ImageError('IMAGE_BAD_SOURCE', `${path}: version is ${found}, supported is "${VERSION}"`);
  }
  return parsed.data;
}
