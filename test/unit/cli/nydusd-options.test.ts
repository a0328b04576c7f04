import { expect, test } from 'vitest';
import { parseOptions, UsageError } from '../../../src/cli/nydusd-options.ts';

test('options of 2020 and of today give the same', () => {
  const words = ['--config', 'c', '--bootstrap', 'b', '--sock', 's'];
  expect(parseOptions(words)).toEqual(parseOptions(['virtiofs', ...words]));
  expect(parseOptions(words)).toMatchObject({ config: 'c', bootstrap: 'b', sock: 's', apisock: null });
});

test('global options may stand before the subcommand, short ones too', () => {
  expect(parseOptions(['-A', 'a', '-l', 'DEBUG', 'virtiofs', '--sock=s', '--hybrid-mode'])).toMatchObject({
    apisock: 'a',
    logLevel: 'debug',
    sock: 's',
  });
});

test('2020 gives prefetch paths as several words', () => {
  expect(parseOptions(['--sock', 's', '--prefetch-files', '/a', '/b'])).toMatchObject({
    prefetchFiles: ['/a', '/b'],
  });
});

test('empty strings of 2020 scripts mean "not given"', () => {
  expect(parseOptions(['--sock', 's', '--mountpoint', '', '--shared-dir', ''])).toMatchObject({ sock: 's' });
});

test.each([
  [['virtiofs'], '--sock PATH is required'],
  [['fuse', '--mountpoint', '/m'], '`nydusd fuse` is not supported yet'],
  [['singleton'], 'not supported yet'],
  [['--sock', 's', '--mountpoint', '/m'], '--mountpoint is not supported yet'],
  [['virtiofs', '--sock', 's', '--shared-dir', '/d'], '--shared-dir is not supported yet'],
  [['virtiofs', '--sock', 's', '--upgrade'], '--upgrade is not supported yet'],
  [['virtiofs', '--sock', 's', '--supervisor', 'x'], '--supervisor is not supported yet'],
  [['virtiofs', '--sock', 's', '--dedup-db', 'x'], '--dedup-db is not supported yet'],
  [['virtiofs', '--sock', 's', '--bootstrap', 'b'], '--bootstrap needs --config'],
  [['virtiofs', '--sock', 's', '-C', 'c', '-D', 'd'], 'exclude each other'],
  [['virtiofs', '--sock', 's', '--log-level', 'loud'], '--log-level must be one of'],
  [['virtiofs', '--sock', 's', '--num-request-queues', '0'], 'must be a number from 1 to 63'],
  [['virtiofs', '--sock', 's', '--thread-num', 'x'], '--thread-num must be a number'],
  [['virtiofs', '--sock', 's', '--tag', 'x'.repeat(37)], 'at most 36 bytes'],
  [['virtiofs', '--sock', 's', '-m', 'rel'], '--virtual-mountpoint must begin with /'],
  [['virtiofs', '--sock', 's', '--colour'], "Unknown option '--colour'"],
  [['serve', '--sock', 's'], "unknown subcommand or argument 'serve'"],
])('refuses %j', (words, message) => {
  expect(() => parseOptions(words)).toThrow(UsageError);
  expect(() => parseOptions(words)).toThrow(message);
});
