/** Flags that the commands which copy chunks into new blobs have in common. */
import { type Command, Option } from 'commander';
import type { BlobSource } from '../../image/read/local-blobs.ts';
import { blobSource } from './bootstrap-options.ts';

/** Where blobs are read from, as the user said. */
export interface BackendFlags {
  readonly blobDir?: string;
  readonly config?: string;
  readonly backendType?: string;
  readonly backendConfig?: string;
  readonly backendConfigFile?: string;
}

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

/** Says something that the user should know on standard error. */
export function warn(command: string, message: string): void {
  process.stderr.write(`nydus-image ${command}: ${message}\n`);
}
