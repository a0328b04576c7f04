import { expect, test } from 'vitest';
import { decodeBlobId } from '../../../../src/wire/rafs/blob-id.ts';

const decode = (text: string): string => decodeBlobId(Buffer.from(text, 'latin1'), 'blob[3].blob_id');

test('a blob id ends at the first NUL', () => {
  expect(decode('ab12\0\0\0')).toBe('ab12');
  expect(decode('ab12')).toBe('ab12');
});

test.each([
  '',
  '\0ab',
  'ab\ncd',
  '\x1b[2J',
  'ab\x7f',
  '\xff\xfe',
])('%j is refused, and named in one line', (text) => {
  expect(() => decode(text)).toThrow(/^blob\[3\]\.blob_id = .*: UTF-8, not empty, no control characters$/);
});
