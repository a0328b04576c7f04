import { readFileSync } from 'node:fs';

/** What a program says of its build, in the words of the original. */
export interface ProgramVersion {
  package_ver: string;
  git_commit: string;
  build_time: string;
  profile: string;
  rustc: string;
}

/** GET /api/v1/daemon's `version`. Fields that describe a Rust build tell what stands in their place. */
export function daemonVersion(): ProgramVersion {
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return {
    package_ver: `v${manifest.version}`,
    git_commit: 'unknown',
    build_time: 'unknown',
    profile: 'release',
    rustc: `node ${process.version}`,
  };
}
