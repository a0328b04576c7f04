import { expect, test } from 'vitest';
import { debugText } from '../../../../src/image/model/debug-text.ts';

test.each<[string, Buffer, string]>([
  ['plain names', Buffer.from('usr lib-1.2_x'), '"usr lib-1.2_x"'],
  ['quotes and backslashes', Buffer.from(`a"b'c\\d`), String.raw`"a\"b\'c\\d"`],
  ['control characters', Buffer.from('\0\t\r\n\u0007\u007f'), String.raw`"\0\t\r\n\u{7}\u{7f}"`],
  ['letters of any script', Buffer.from('спасибо-日本語-😀'), '"спасибо-日本語-😀"'],
  [
    'combining marks, formats and odd spaces',
    Buffer.from('e\u0301\u200b\u00a0'),
    String.raw`"e\u{301}\u{200b}\u{a0}"`,
  ],
  ['bytes that are not UTF-8', Buffer.from('6c61e9ff8041', 'hex'), String.raw`"la\xE9\xFF\x80A"`],
  ['a sequence that is cut off', Buffer.from('e697', 'hex'), String.raw`"\xE6\x97"`],
  [
    'overlong forms, surrogates and beyond Unicode',
    Buffer.from('c080eda080f4908080', 'hex'),
    String.raw`"\xC0\x80\xED\xA0\x80\xF4\x90\x80\x80"`,
  ],
])('%s', (_what, name, text) => {
  expect(debugText(name)).toBe(text);
});
