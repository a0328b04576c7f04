import type { ChunkTable, Unit } from '../blob/chunk-table.ts';
import { IndexedChunks, RecordChunks } from '../blob/chunk-table.ts';
import { addonCodecs, type Codecs } from '../blob/codecs.ts';
import { decodeUnit, verifyChunk } from '../blob/decode.ts';
import { loadChunkInfo } from '../blob/meta.ts';
import type { BlobSource } from '../blob/source.ts';
import { type BlobSpec, type CacheConfig, checkSpec, isLegacyStargz } from '../blob/spec.ts';
import type { DigestAlgorithm } from '../lib/digest.ts';
import { addon } from '../native/index.ts';
import { blobSpec } from '../rafs/blob-spec.ts';
import { ChunkFlag } from '../wire/rafs/chunk.ts';
import type { Compressor } from '../wire/rafs/flags.ts';
import { BlobFeature } from '../wire/rafs/flags.ts';
import type { StoredChunk } from './chunker.ts';
import { ImageError } from './error.ts';
import type { LoadedImage } from './load.ts';

/** A chunk's bytes, verified against its CRC and digest. */
export interface CheckedChunk {
  readonly plain: Uint8Array;
  /** As they lie in the blob; null where they mean nothing outside it: part of a batch or of a gzip stream. */
  readonly stored: Uint8Array | null;
  /** Of `stored`; `none` where it is not compressed. */
  readonly compressor: Compressor;
  /** Of the chunk's digest. */
  readonly digester: DigestAlgorithm;
}

/** Nothing is kept beside the blobs. */
const NO_CACHE: CacheConfig = {
  kind: 'none',
  workDir: '',
  compressed: false,
  validate: true,
  disableIndexedMap: true,
  amplifyBytes: 0,
};

interface OpenBlob {
  readonly spec: BlobSpec;
  readonly table: ChunkTable;
}

/** Reads chunks of an image out of its blobs, to be stored elsewhere. */
export class ImageChunks {
  readonly #image: LoadedImage;
  readonly #source: BlobSource;
  readonly #codecs: Codecs = addonCodecs(addon);
  readonly #blobs = new Map<number, Promise<OpenBlob>>();
  /** Members of a batch or of a gzip slice come one after the other: it is decoded once. */
  #lastUnit: { readonly unit: Unit; readonly plain: Promise<Uint8Array> } | null = null;

  constructor(image: LoadedImage, source: BlobSource) {
    this.#image = image;
    this.#source = source;
  }

  /** Rejects with BlobError, SourceError or ImageError, which name the blob and the chunk. */
  async read(chunk: StoredChunk): Promise<CheckedChunk> {
    const { spec, table } = await this.#open(chunk.blobIndex);
    const located = table.locate({ index: chunk.index, record: { ...chunk, digest: chunk.digest } });
    const { unit } = located;
    if (located.uncompressedSize !== chunk.uncompressedSize) {
      const sizes = `${located.uncompressedSize} bytes by the blob, ${chunk.uncompressedSize} by the bootstrap`;
      throw new ImageError(
        'IMAGE_DAMAGED',
        `${this.#image.path}: blob ${spec.id} chunk ${chunk.index}: ${sizes}`,
      );
    }
    if (unit.encrypted) {
      throw new ImageError(
        'IMAGE_BAD_SOURCE',
        `${this.#image.path}: blob ${spec.id}: moving chunks of encrypted blobs is not supported yet; build the image without --encrypt`,
      );
    }
    const shared = unit.batch || unit.zran !== null;
    const stored = shared ? null : await this.#readUnit(spec, unit);
    const whole =
      stored === null
        ? await this.#decodeShared(spec, unit)
        : await decodeUnit(spec, this.#codecs, unit, stored);
    const plain = whole.subarray(located.unitPosition, located.unitPosition + chunk.uncompressedSize);
    const crc32c = chunk.flags & ChunkFlag.hasCrc32c ? chunk.crc32c : null;
    verifyChunk(spec, this.#codecs, { ...located, digest: chunk.digest, crc32c }, plain, true);
    return {
      plain,
      stored: isLegacyStargz(spec) ? null : stored,
      compressor: unit.compressed ? spec.compressor : 'none',
      digester: spec.digester,
    };
  }

  #open(index: number): Promise<OpenBlob> {
    const known = this.#blobs.get(index);
    if (known !== undefined) return known;
    const opening = this.#openBlob(index);
    this.#blobs.set(index, opening);
    return opening;
  }

  async #openBlob(index: number): Promise<OpenBlob> {
    const { bootstrap, path } = this.#image;
    const spec = blobSpec(bootstrap.blobs[index]!, bootstrap, path);
    checkSpec(spec, NO_CACHE);
    if (spec.version === 5) return { spec, table: new RecordChunks(spec) };
    if ((spec.features & BlobFeature.tarfs) !== 0) {
      const rule = 'the data of a tarfs image stays in its tar';
      throw new ImageError(
        'IMAGE_BAD_SOURCE',
        `${path}: blob ${spec.id}: ${rule}; build it with --type tar-rafs`,
      );
    }
    const info = await loadChunkInfo(spec, null, this.#source, this.#codecs, () => {});
    return { spec, table: new IndexedChunks(spec, info, null) };
  }

  async #readUnit(spec: BlobSpec, unit: Unit): Promise<Uint8Array> {
    const stored = Buffer.allocUnsafeSlow(unit.size);
    await this.#source.read(spec.objectId, unit.start, stored);
    return stored;
  }

  #decodeShared(spec: BlobSpec, unit: Unit): Promise<Uint8Array> {
    if (this.#lastUnit?.unit === unit) return this.#lastUnit.plain;
    const plain = this.#readUnit(spec, unit).then((stored) => decodeUnit(spec, this.#codecs, unit, stored));
    this.#lastUnit = { unit, plain };
    return plain;
  }
}
