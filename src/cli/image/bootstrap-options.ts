/** Flags that the commands which read an image have in common. */
import { type Command, Option } from 'commander';
import { type BlobSource, localBlobs } from '../../image/read/local-blobs.ts';

/** Where the bootstrap and the blobs are, as the user said. */
export interface BootstrapFlags {
  readonly bootstrap?: string;
  readonly blobDir?: string;
  readonly config?: string;
}

/** `-C`. */
export function configOption(): Option {
  return new Option(
    '-C, --config <file>',
    "nydusd's configuration file; its backend section says where the blobs are",
  );
}

/** Adds `[bootstrap]` and the flags for it and its blobs. */
export function addBootstrapOptions(command: Command): Command {
  return command
    .argument('[bootstrap]', 'bootstrap, or a blob with one at its end')
    .addOption(new Option('-B, --bootstrap <file>', 'the same').hideHelp())
    .addOption(
      new Option('-D, --blob-dir <dir>', 'directory with the blobs, named by their ids').conflicts('config'),
    )
    .addOption(configOption());
}

/** The bootstrap's path; ends the program with a usage error if it was given twice or not at all. */
export function bootstrapPath(argument: string | undefined, flags: BootstrapFlags, command: Command): string {
  if (argument !== undefined && flags.bootstrap !== undefined)
    command.error("error: argument 'bootstrap' cannot be used with option '-B, --bootstrap <file>'");
  const path = argument ?? flags.bootstrap;
  if (path === undefined) command.error("error: missing required argument 'bootstrap'");
  return path!;
}

/**
 * Where blobs are read from; null if nothing was said of it. Rejects when the configuration is wrong or names a
 * backend that is not there yet.
 */
export async function blobSource(flags: BootstrapFlags): Promise<BlobSource | null> {
  if (flags.blobDir !== undefined) return localBlobs(flags.blobDir);
  if (flags.config === undefined) return null;
  const { loadConfig } = await import('../../config/load.ts');
  const { backend } = await loadConfig(flags.config);
  if (backend.localfs === null)
    throw new Error(
      `${flags.config}: backend type ${backend.type} is not supported yet: use localfs, or --blob-dir`,
    );
  return localBlobs(backend.localfs);
}
