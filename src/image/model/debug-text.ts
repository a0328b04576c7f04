/**
 * Characters of valid UTF-8 that are shown by number: controls, formats, unassigned, spaces other than the
 * plain one, combining marks.
 */
const UNPRINTABLE = /[\p{C}\p{Z}\p{Grapheme_Extend}]/u;
const NAMED: Readonly<Record<string, string>> = {
  '\0': '\\0',
  '\t': '\\t',
  '\r': '\\r',
  '\n': '\\n',
  "'": "\\'",
  '"': '\\"',
  '\\': '\\\\',
};

/**
 * A file name in quotes, as the original's programs print one: what is not printable, or not UTF-8, as an escape. Every
 * name has its own text, in one line.
 */
export function debugText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = '"';
  for (let at = 0; at < bytes.length; ) {
    const size = sequenceSize(bytes, at);
    if (size === 0) text += `\\x${bytes[at]!.toString(16).toUpperCase().padStart(2, '0')}`;
    else text += escaped(buffer.toString('utf8', at, at + size));
    at += Math.max(size, 1);
  }
  return `${text}"`;
}

function escaped(character: string): string {
  const named = NAMED[character];
  if (named !== undefined) return named;
  if (character === ' ' || !UNPRINTABLE.test(character)) return character;
  return `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

/** Bytes of the well-formed UTF-8 sequence at `at` (Unicode, table 3-7); 0 if there is none. */
function sequenceSize(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < size; i++) {
    const byte = bytes[at + i] ?? 0;
    if (byte < (i === 1 ? least : 0x80) || byte > (i === 1 ? most : 0xbf)) return 0;
  }
  return size;
}
