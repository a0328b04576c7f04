import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { PrivateFile, replaceFile } from '../../../../src/lib/file/replace.ts';

const root = mkdtempSync(join(tmpdir(), 'replace-'));
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(root, 'test-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test('a file is replaced whole, and nothing stays beside it', async () => {
  writeFileSync(join(dir, 'name'), 'what was there before');
  await replaceFile(join(dir, 'name'), Buffer.from('new'));
  expect(readFileSync(join(dir, 'name'), 'utf8')).toBe('new');
  expect(readdirSync(dir)).toEqual(['name']);
});

test('a name that cannot be taken leaves no file behind', async () => {
  await expect(replaceFile(dir, Buffer.from('new'))).rejects.toMatchObject({ syscall: 'rename' });
  expect(readdirSync(root).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});

test('a directory that is not there is an error of the system', async () => {
  await expect(replaceFile(join(dir, 'none', 'name'), Buffer.alloc(1))).rejects.toMatchObject({
    code: 'ENOENT',
  });
});

test('nobody sees the file under its name before it is moved there', () => {
  const file = PrivateFile.createSync(dir, 'name');
  writeSync(file.fd, 'whole');
  expect(readdirSync(dir)).toEqual([expect.stringMatching(/^\.name\.[0-9a-f]{12}\.tmp$/)]);
  file.moveToSync(join(dir, 'name'));
  file.discard();
  expect(readdirSync(dir)).toEqual(['name']);
  expect(readFileSync(join(dir, 'name'), 'utf8')).toBe('whole');
});

test('what is given up is gone, and may be given up again', async () => {
  const file = await PrivateFile.create(dir, 'name');
  file.discard();
  file.discard();
  expect(readdirSync(dir)).toEqual([]);
});

test('a removed file takes bytes until it is closed', () => {
  const file = PrivateFile.createSync(dir, 'name');
  file.remove();
  expect(readdirSync(dir)).toEqual([]);
  expect(writeSync(file.fd, 'more')).toBe(4);
  file.close();
});

test('the hidden name is short, whatever the target is called', async () => {
  const name = 'x'.repeat(255);
  await replaceFile(join(dir, name), Buffer.from('new'));
  expect(readdirSync(dir)).toEqual([name]);
});
