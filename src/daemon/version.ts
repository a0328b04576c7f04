import { readFileSync } from 'node:fs';
import type { DaemonInfo } from '../service/control.ts';

/** GET /api/v1/daemon's `version`. Fields that describe a Rust build tell what stands in their place. */
export function daemonVersion(): DaemonInfo['version'] {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
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
