/** Documents as people write them by hand, JSON with comments and TOML, into values. They are told apart by content. */
import { ConfigError } from './error.ts';

/**
 * The document in `text`, without members that are null: in a configuration null means "not set". Rejects with
 * ConfigError.
 */
export async function parseDocument(text: string): Promise<unknown> {
  const start = text.trimStart()[0];
  return dropNulls(start === '{' || start === '/' ? parseJson(text) : await parseToml(text));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(blankComments(text));
  } catch (error) {
    const reason = (error as Error).message;
    throw new ConfigError('parsing', `not valid JSON: ${reason}`, { cause: error });
  }
}

async function parseToml(text: string): Promise<unknown> {
  const { parse } = await import('smol-toml');
  try {
    return parse(text);
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    const message = `neither JSON (it does not begin with '{') nor valid TOML: ${reason}`;
    throw new ConfigError('parsing', message, { cause: error });
  }
}

/**
 * Blanks out `//` and block comments outside strings, keeping every other character at its place so that positions in
 * parse errors stay right.
 */
function blankComments(text: string): string {
  let out = '';
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      at = endOfString(text, at);
      continue;
    }
    if (char !== '/') continue;
    const next = text[at + 1];
    let end: number;
    if (next === '/') {
      end = text.indexOf('\n', at);
    } else if (next === '*') {
      end = text.indexOf('*/', at + 2);
      if (end >= 0) end += 2;
    } else {
      continue;
    }
    if (end < 0) end = text.length;
    out += text.slice(from, at) + text.slice(at, end).replace(/[^\n]/g, ' ');
    from = end;
    at = end - 1;
  }
  return out + text.slice(from);
}

/** Index of the closing quote of the string that opens at `at`, or the last index of an unterminated one. */
function endOfString(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '"') return i;
  }
  return text.length - 1;
}

/** A copy without members that are null. */
function dropNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dropNulls);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(kept.map(([key, member]) => [key, dropNulls(member)]));
}
