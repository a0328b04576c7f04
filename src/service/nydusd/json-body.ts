import { parseBody } from './errors.ts';

/** Parses a request's body. Throws the API's ParseBody error with line and column of the first byte that cannot be JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const at = badPosition(text);
    const before = text.slice(0, at);
    const line = before.split('\n').length;
    // Columns count from 1; at the end of the text the last character is named.
    const column = at - (before.lastIndexOf('\n') + 1) + (at < text.length ? 1 : 0);
    const reason = at < text.length ? 'expected value' : 'EOF while parsing a value';
    throw parseBody(reason, line, column, (error as Error).message);
  }
}

/**
 * Index of the first character at which `text` stops being a prefix of some JSON text. V8 tells positions in some of its messages only;
 * whether a prefix is already bad is monotone in its length, so search for it.
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
