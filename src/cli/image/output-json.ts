/**
 * The object which `--output-json` writes; consumers read `blobs`, `fs_version` and `compressor`.
 * src/bin/nydus-image/main.rs.
 */
interface OutputJson {
  readonly version: string;
  readonly bootstrap: string;
  readonly blobs: readonly string[];
  readonly external_bootstrap: string;
  readonly external_blobs: readonly string[];
  readonly trace: {
    readonly consumed_time: Readonly<Record<string, number>>;
    readonly registered_events: object;
  };
  readonly fs_version: string;
  readonly compressor: string;
}

/**
 * Says what was built. The `external_` fields are always empty: every directory build of the original also leaves
 * `<bootstrap>.external`, the tree of files which `--attributes` puts into a store of their own, and without that flag
 * it has none. nydusify reads it only where it gave the flag, which is refused here. `bootstrapPath` as the user wrote
 * it; `seconds` of the whole build.
 */
export function outputJson(
  version: string,
  bootstrapPath: string,
  options: { readonly fsVersion: 5 | 6; readonly compressor: string },
  result: { readonly blobIds: readonly string[] },
  seconds: number,
): OutputJson {
  return {
    version,
    bootstrap: bootstrapPath,
    blobs: result.blobIds,
    external_bootstrap: '',
    external_blobs: [],
    trace: { consumed_time: { total_build: seconds }, registered_events: {} },
    fs_version: String(options.fsVersion),
    compressor: options.compressor,
  };
}
