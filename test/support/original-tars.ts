/** What the original's `unpack` writes, and how ours differs from it. */
import { decodePaxRecords, decodeTarHeader, encodePaxRecords, sealTarHeader } from '../../src/wire/tar.ts';

const BLOCK = 512;
const PAX = 'x';
const HARD_LINK = '1';
const NAMES_OF_OWNERS = { at: 265, end: 329 };
const SIZE = { at: 124, digits: 11 };
const LINK_NAME = { at: 157, size: 100 };

interface Differences {
  /**
   * The original drops fractions of seconds, which a directory's files have. Ours keeps them, in a `mtime` record, so
   * that what is extracted equals the source.
   */
  readonly wholeSeconds: boolean;
  /**
   * The original names the file that a hard link is to with a slash before it: no entry of the archive has such a name,
   * and readers that look it up as it stands do not find it.
   */
  readonly slashBeforeLinks: boolean;
}

/** Ours, turned into the original's. */
export function asOriginal(tar: Buffer): Buffer {
  return rewrite(tar, { wholeSeconds: true, slashBeforeLinks: true });
}

/** Without the names of users and groups, which are those of the machine. */
export function withoutOwners(tar: Buffer): Buffer {
  return rewrite(tar, { wholeSeconds: false, slashBeforeLinks: false });
}

function rewrite(tar: Buffer, { wholeSeconds, slashBeforeLinks }: Differences): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < tar.length; ) {
    const block = Buffer.from(tar.subarray(at, at + BLOCK));
    if (block.every((byte) => byte === 0)) {
      parts.push(tar.subarray(at));
      break;
    }
    const { type, size } = decodeTarHeader(block);
    const end = at + BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    let data = tar.subarray(at + BLOCK, end);
    at = end;
    if (type === PAX && wholeSeconds) {
      const records = decodePaxRecords(data.subarray(0, size)).filter(({ key }) => key !== 'mtime');
      if (records.length === 0) continue;
      data = padded(encodePaxRecords(records), block);
    }
    if (type === HARD_LINK && slashBeforeLinks) prefixLink(block);
    block.fill(0, NAMES_OF_OWNERS.at, NAMES_OF_OWNERS.end);
    sealTarHeader(block);
    parts.push(block, data);
  }
  return Buffer.concat(parts);
}

function padded(data: Buffer, header: Buffer): Buffer {
  header.write(data.length.toString(8).padStart(SIZE.digits, '0'), SIZE.at);
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

function prefixLink(header: Buffer): void {
  const { at, size } = LINK_NAME;
  header.copyWithin(at + 1, at, at + size - 1);
  header.write('/', at);
}

/**
 * Images of the fixtures, and SHA-256 of the tar which `nydus-image unpack` 2.4.4 makes of them, less the owners'
 * names.
 */
export const originalTars: Readonly<Record<string, string>> = {
  'v5-chunks1m-lz4_block': '31d737e51598c1290fe1bf0e75f563c698bb105a8ba961a4f65d6b87919da2c2',
  'v5-chunks64k-lz4_block': '31d737e51598c1290fe1bf0e75f563c698bb105a8ba961a4f65d6b87919da2c2',
  'v5-dict': '3441bd3913eeab5a51752fb51f341a67c7cf0b72cec30fcf0135a61e5720d38c',
  'v5-lower-tar': 'df34edf6e8c0709d747b2d6d771c82fa38809afd7bf7b615a38928b5d32df8a4',
  'v5-lower': 'df34edf6e8c0709d747b2d6d771c82fa38809afd7bf7b615a38928b5d32df8a4',
  'v5-merge3': '607b1d820e48792690c7770f739c0c8db116103824546ff2a0f97a0f1e5db8dd',
  'v5-parent': '1a648b448776fb31ac498bd865f6bae752f8658e5a58997814b1cab160c56cf8',
  'v5-top-tar': 'edafe111cfc0babd38ffe603ad39bf8577367a1a6bee0154a87152914313fbfe',
  'v5-upper-tar': '8a264176978832f2474c1a07c4e11301f5df9641c1ac640be3e9c82de6c3f5f5',
  'v5-wide': '59ba6efe81ad1a082a622654b78678b055cd7b746bbcbace85d612b5170fb792',
  'v6-chunks1m-lz4_block': '31d737e51598c1290fe1bf0e75f563c698bb105a8ba961a4f65d6b87919da2c2',
  'v6-chunks64k-lz4_block': '31d737e51598c1290fe1bf0e75f563c698bb105a8ba961a4f65d6b87919da2c2',
  'v6-chunks64k-none': '31d737e51598c1290fe1bf0e75f563c698bb105a8ba961a4f65d6b87919da2c2',
  'v6-chunks64k-zstd': '31d737e51598c1290fe1bf0e75f563c698bb105a8ba961a4f65d6b87919da2c2',
  'v6-dict': '3441bd3913eeab5a51752fb51f341a67c7cf0b72cec30fcf0135a61e5720d38c',
  'v6-lower-tar': 'df34edf6e8c0709d747b2d6d771c82fa38809afd7bf7b615a38928b5d32df8a4',
  'v6-lower-toc': 'df34edf6e8c0709d747b2d6d771c82fa38809afd7bf7b615a38928b5d32df8a4',
  'v6-lower': 'df34edf6e8c0709d747b2d6d771c82fa38809afd7bf7b615a38928b5d32df8a4',
  'v6-merge-dict': '1a648b448776fb31ac498bd865f6bae752f8658e5a58997814b1cab160c56cf8',
  'v6-merge3': '607b1d820e48792690c7770f739c0c8db116103824546ff2a0f97a0f1e5db8dd',
  'v6-parent': '1a648b448776fb31ac498bd865f6bae752f8658e5a58997814b1cab160c56cf8',
  'v6-top-tar': 'edafe111cfc0babd38ffe603ad39bf8577367a1a6bee0154a87152914313fbfe',
  'v6-upper-tar': '8a264176978832f2474c1a07c4e11301f5df9641c1ac640be3e9c82de6c3f5f5',
  'v6-upper-toc': '8a264176978832f2474c1a07c4e11301f5df9641c1ac640be3e9c82de6c3f5f5',
  'v6-wide': '59ba6efe81ad1a082a622654b78678b055cd7b746bbcbace85d612b5170fb792',
};

/** The same of `sources/plain.tar` without devices and FIFO, built with `create -t tar-rafs -v 6 --compressor none`. */
export const originalPlainTar = '71c33d4f745166179eef34e94cbb8dc7d1dc5eb90c1d052e471511a4076b8c96';
