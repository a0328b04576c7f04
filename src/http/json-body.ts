/** Bodies of JSON: parsed and validated, with the place of what is wrong. Loaded with the first body. */
import type { z } from 'zod';
import { BodyError, JsonError, type TextPlace } from './errors.ts';

/** Throws JsonError with the place of the first character that cannot be JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const at = badPosition(text);
    const before = text.slice(0, at);
    const isCutShort = at >= text.length;
    // At the end of the text the last character is named.
    const column = at - (before.lastIndexOf('\n') + 1) + (isCutShort ? 0 : 1);
    const place = { line: before.split('\n').length, column };
    throw new JsonError((error as Error).message, place, isCutShort);
  }
}

/**
 * The value as `schema` gives it. `text` is what it was parsed from. Throws BodyError for the first member that is
 * wrong.
 */
export function validate<T>(schema: z.ZodType<T>, value: unknown, text: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const isMissing = isObject && issue.path.length === 1 && !Object.hasOwn(value, String(issue.path[0]));
  throw new BodyError(issue.message, issue.path.map(String).join('.'), isMissing, endOf(text));
}

/** Its column counts bytes. */
function endOf(text: string): TextPlace {
  const lines = text.trimEnd().split('\n');
  return { line: lines.length, column: Buffer.byteLength(lines.at(-1)!) };
}

/**
 * Index of the first character at which `text` stops being a prefix of some JSON text. V8 tells positions in some of
 * its messages only; whether a prefix is already bad is monotone in its length, so search for it.
 */
function badPosition(text: string): number {
  let good = 0;
  let bad = text.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    if (isPrefix(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

function isPrefix(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const message = (error as Error).message;
    if (message.includes('end of JSON input') || message.includes('Unterminated')) return true;
    const position = /at position (\d+)/.exec(message);
    return position !== null && Number(position[1]) >= text.length;
  }
}
