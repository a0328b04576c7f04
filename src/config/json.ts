/** JSON as people write it by hand: with comments. */

/**
 * Blanks out `//` and block comments outside strings, keeping every other character at its place so that positions in
 * parse errors stay right.
 */
export function blankComments(text: string): string {
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

/** A copy without members that are null: in a configuration null means "not set". */
export function dropNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dropNulls);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(kept.map(([key, member]) => [key, dropNulls(member)]));
}
