import { blobSpec } from '../../rafs/blob-spec.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { compressorOf } from '../../wire/rafs/flags.ts';
import { EntryReader, featureWords } from '../read/entry-reader.ts';
import { imageOf, walkTree } from '../read/tree-walk.ts';

/** Lines which the original prints of a sound image; `verbose` lists inodes and chunks first. src/bin/nydus-image/validator.rs. */
export function* checkLines(bootstrap: Bootstrap, path: string, verbose: boolean): Generator<string> {
  if (verbose) {
    const image = imageOf(bootstrap);
    const reader = new EntryReader(bootstrap, image);
    for (const entry of walkTree(bootstrap, image, () => {})) {
      yield reader.inodeLine(entry);
      for (const chunk of reader.chunks(entry)) yield EntryReader.chunkLine(chunk);
    }
  }
  yield 'RAFS filesystem metadata is valid, referenced data blobs: ';
  for (const [i, row] of bootstrap.blobs.entries()) {
    const { id } = blobSpec(row, bootstrap, path);
    const sizes = `compressed size ${row.compressedSize}, uncompressed size ${row.uncompressedSize}`;
    const chunks = `chunk size: ${bootstrap.chunkSize}, chunk count: ${row.chunkCount}`;
    yield `\t ${i}: ${id}, ${sizes}, ${chunks}, features: ${featureWords(row.features)}`;
  }
}

/** The object which `check --output-json` writes. `seconds` of the whole check. src/bin/nydus-image/main.rs. */
export function checkJson(bootstrap: Bootstrap, path: string, version: string, seconds: number): object {
  return {
    version,
    bootstrap: path,
    blobs: bootstrap.blobs.map((row) => blobSpec(row, bootstrap, path).id),
    external_bootstrap: '',
    external_blobs: [],
    trace: { consumed_time: { load_tree_from_bootstrap: seconds }, registered_events: {} },
    fs_version: String(bootstrap.version),
    compressor: compressorOf(bootstrap.flags),
  };
}
