/** Flags and output that the commands which copy chunks into new blobs have in common. */
import { type Command, Option } from 'commander';
import type { BlobSource } from '../../image/blob-source.ts';
import type { CopyProgress } from '../../image/compact-blob.ts';
import { blobSource } from './bootstrap-options.ts';
import { mebibytes } from './common.ts';

/** Where blobs are read from, as the user said. */
export interface BackendFlags {
  readonly blobDir?: string;
  readonly config?: string;
  readonly backendType?: string;
  readonly backendConfig?: string;
  readonly backendConfigFile?: string;
}

/** Work that takes longer says how far it is. */
const PROGRESS_AFTER_MS = 2000;
const PROGRESS_EVERY_MS = 200;

/** Adds the flags for back ends other than a directory: they are known, and refused when they are used. */
export function addBackendOptions(command: Command): Command {
  const text = 'back ends other than a directory are not supported yet';
  return command
    .addOption(new Option('--backend-type <type>', text))
    .addOption(new Option('--backend-config <json>', text).hideHelp())
    .addOption(new Option('--backend-config-file <file>', text).conflicts('backendConfig').hideHelp());
}

/** Where the image's blobs are. Rejects with what to give instead. */
export async function copySource(flags: BackendFlags): Promise<BlobSource> {
  const { backendType, backendConfig, backendConfigFile } = flags;
  if (backendType === 'localfs')
    throw new Error('--backend-type localfs: give the directory with --blob-dir instead');
  if (backendType !== undefined || backendConfig !== undefined || backendConfigFile !== undefined) {
    const what = backendType === undefined ? '--backend-config' : `--backend-type ${backendType}`;
    throw new Error(
      `${what} is not supported yet: copy the blobs into a directory and give it with --blob-dir`,
    );
  }
  const source = await blobSource(flags);
  if (source === null)
    throw new Error('where are the blobs of the image? Give their directory with --blob-dir');
  return source;
}

/** One line on a terminal, rewritten in place, once the work has taken a while; undefined where there is none. */
export function copyProgress(): ((progress: CopyProgress) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  const started = performance.now();
  let next = started + PROGRESS_AFTER_MS;
  return ({ bytes, bytesTotal }) => {
    const now = performance.now();
    if (now < next) return;
    next = now + PROGRESS_EVERY_MS;
    const rate = mebibytes((bytes * 1000) / (now - started));
    process.stderr.write(`\r\x1b[K${mebibytes(bytes)} of ${mebibytes(bytesTotal)}, ${rate}/s`);
  };
}

/** Takes the line away again. */
export function endProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

/** Says something that the user should know on standard error. */
export function warn(command: string, message: string): void {
  process.stderr.write(`nydus-image ${command}: ${message}\n`);
}
