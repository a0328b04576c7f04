import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { digesterOf, SuperFlag } from '../../wire/rafs/flags.ts';
import { ImageError } from '../model/error.ts';
import { isTarfs, type LoadedImage } from './load.ts';

/** What images must have in common to become one. */
export interface Traits {
  /** For messages: a file, or what was asked for. */
  readonly name: string;
  readonly chunkSize: number;
  readonly explicitUidGid: boolean;
  readonly fsVersion: 5 | 6;
  readonly digester: 'blake3' | 'sha256';
  readonly tarfs: boolean;
}

/** What a bootstrap brings. */
export function traitsOf(bootstrap: Bootstrap, name: string): Traits {
  return {
    name,
    chunkSize: bootstrap.chunkSize,
    explicitUidGid: (bootstrap.flags & SuperFlag.explicitUidGid) !== 0,
    fsVersion: bootstrap.version,
    digester: digesterOf(bootstrap.flags),
    tarfs: isTarfs(bootstrap),
  };
}

/** As `checkTraits`, of two images. */
export function checkCompatible(
  first: LoadedImage,
  second: LoadedImage,
  options: { readonly owners: boolean } = { owners: true },
): void {
  checkTraits(traitsOf(first.bootstrap, first.path), traitsOf(second.bootstrap, second.path), options);
}

/**
 * Throws ImageError IMAGE_INCOMPATIBLE naming both and what they differ in. Without `owners` one of them may lack them.
 * v6 digests chunks alone, which may differ; v5 digests files too. rafs/src/metadata/mod.rs.
 */
export function checkTraits(
  first: Traits,
  second: Traits,
  options: { readonly owners: boolean } = { owners: true },
): void {
  const differ = (what: string, a: unknown, b: unknown): never => {
    throw new ImageError(
      'IMAGE_INCOMPATIBLE',
      `${second.name}: ${what} is ${b}, that of ${first.name} is ${a}: build all of them with the same`,
    );
  };
  if (first.fsVersion !== second.fsVersion) differ('--fs-version', first.fsVersion, second.fsVersion);
  if (first.tarfs !== second.tarfs) differ('tarfs mode', first.tarfs, second.tarfs);
  if (first.chunkSize !== second.chunkSize)
    differ('--chunk-size', hex(first.chunkSize), hex(second.chunkSize));
  if (options.owners && first.explicitUidGid !== second.explicitUidGid)
    differ('--repeatable (no owners)', !first.explicitUidGid, !second.explicitUidGid);
  if (first.fsVersion === 5 && first.digester !== second.digester)
    differ('--digester', first.digester, second.digester);
}

/**
 * A tarfs image has its data in tar files: other kinds of blobs cannot stand beside them. Throws
 * ImageError IMAGE_BAD_SOURCE.
 */
export function refuseTarfs(image: LoadedImage, use: string): void {
  if (isTarfs(image.bootstrap))
    throw new ImageError('IMAGE_BAD_SOURCE', `${image.path}: a tarfs image cannot be used as ${use}`);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
