import type { Turns } from '../../../lib/turns.ts';
import { type ByteSource, recognizeGzip } from '../tar/byte-source.ts';
import { GzipSource } from './gzip-source.ts';
import { type ArchiveSource, PlainSource } from './plain-source.ts';

/** An archive to refer to: inflated step by step if it is gzip, otherwise as it is. Closing it closes `source`. */
export async function openArchive(source: ByteSource, turns: Turns): Promise<ArchiveSource> {
  try {
    const { isGzip, source: whole } = await recognizeGzip(source);
    return isGzip ? new GzipSource(whole, turns) : new PlainSource(whole, turns);
  } catch (error) {
    source.close();
    throw error;
  }
}
