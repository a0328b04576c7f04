import manifest from '../../../package.json' with { type: 'json' };

/** Version of the package, as `--version`, the API and output files have it. */
export const packageVersion: string = `v${manifest.version}`;
