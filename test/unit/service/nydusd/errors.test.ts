import { expect, it, test } from 'vitest';
import { parseJson } from '../../../../src/http/json-body.ts';
import { ControlError, type ControlFailures } from '../../../../src/service/nydusd/control.ts';
import { answerTo, describeError } from '../../../../src/service/nydusd/errors.ts';

const mount = (inner: string) => `Mount(MountFilesystem(Other("${inner}")))`;
const rafs = (inner: string) => mount(`RAFS failed to handle request, ${inner}\``);

const answers: { [Code in keyof ControlFailures]: [ControlFailures[Code], number, string][] } = {
  DAEMON_ENDING: [[null, 503, 'Mount(NotReady) — why']],
  LIFE_UNEXPECTED_EVENT: [
    ['Start', 400, 'Configure(DaemonAbnormal(UnexpectedEvent("Start"))) — why'],
    ['"x', 400, 'Configure(DaemonAbnormal(UnexpectedEvent("\\"x"))) — why'],
  ],
  MOUNT_EXISTS: [
    [
      null,
      500,
      `${mount('object or filesystem already exists')} — why; unmount it first, or PUT to replace it`,
    ],
  ],
  MOUNT_NOT_FOUND: [
    ['remount', 500, `${mount("object or filesystem doesn't exist")} — why; POST mounts it`],
    [
      'unmount',
      500,
      `${mount("object or filesystem doesn't exist")} — why; GET /api/v1/daemon lists what is`,
    ],
  ],
  MOUNT_LIMIT: [[null, 500, `${mount('vfs maximum mountpoints reached')} — why`]],
  MOUNT_BAD_PATH: [
    [
      null,
      500,
      `${mount('VFS failed to handle request, PathWalk(Os { code: 22, kind: InvalidInput, message: \\"Invalid argument\\" })')} — why`,
    ],
  ],
  MOUNT_BAD_TYPE: [
    [
      'bogus',
      500,
      `${mount("invalid argument `only 'rafs' and 'passthrough_fs' are supported, but bogus was specified`")} — why`,
    ],
  ],
  MOUNT_CONFIG_UNPARSED: [
    [null, 500, `${rafs('Failed to load config: failed to parse configuration information')} — why`],
  ],
  MOUNT_CONFIG_INVALID: [[null, 500, `${rafs('Failed to load config: invalid configuration')} — why`]],
  MOUNT_BAD_SUPERBLOCK: [
    [undefined, 500, `${rafs('Failed to fill superBlock: failed to fill whole buffer')} — why`],
    ['ENOENT', 500, `${rafs('Failed to fill superBlock: No such file or directory (os error 2)')} — why`],
    ['EACCES', 500, `${rafs('Failed to fill superBlock: Permission denied (os error 13)')} — why`],
    ['RAFS_READ', 500, `${rafs('Failed to fill superBlock: failed to fill whole buffer')} — why`],
  ],
  MOUNT_BAD_BLOBS: [[null, 500, `${rafs('Failed to create device: Input/output error (os error 5)')} — why`]],
  MOUNT_WORKER_FAILED: [['EIO', 500, `${rafs('Failed to fill superBlock: EIO')} — why`]],
  MOUNT_NOT_SUPPORTED: [[null, 501, 'Mount(MountFilesystem(Unsupported)) — why']],
  CONFIG_REFUSED: [[null, 500, 'Configure(ResponsePayloadType) — why']],
};

test.each(Object.entries(answers))('%s is told in the words of upstream', (code, cases) => {
  for (const [about, status, message] of cases) {
    const error = new ControlError(code as keyof ControlFailures, about, 'why');
    expect(answerTo(error)).toEqual({ status, body: { code: 'UNDEFINED', message } });
    expect(describeError(error)).toBe(message);
  }
});

test.each([
  ['hello', 'expected value', 1, 1],
  ['{"a":\n  x}', 'expected value', 2, 3],
  ['{"a": 1', 'EOF while parsing a value', 1, 7],
])('JSON errors of %j name the place', (text, reason, line, column) => {
  const original = `ParseBody(Error("${reason}", line: ${line}, column: ${column})) — `;
  let error: unknown;
  try {
    parseJson(text);
  } catch (caught) {
    error = caught;
  }
  const { status, body } = answerTo(error)!;
  expect(status).toBe(400);
  expect((body as { message: string }).message.slice(0, original.length)).toBe(original);
});

it('a defect is not explained to the caller', () => {
  expect(answerTo(new Error('a defect'))).toBeUndefined();
  expect(describeError(new Error('a defect'))).toBe('a defect');
});
