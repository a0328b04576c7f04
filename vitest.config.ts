import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

// Compiled code is kept between workers, where the programs keep theirs. Measuring coverage turns it off.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules/.cache/nydus-compile');

const common = {
  // The addon keeps process-wide devices; forks give each file its own process.
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 60_000,
  // Node loads the sources as it does for users: types stripped, every offset as on disk, so that what tests and spawned programs
  // execute of a file can be added up.
  server: { deps: { external: [new RegExp(`^${RegExp.escape(join(import.meta.dirname, 'src'))}/`)] } },
} as const;

export default defineConfig({
  test: {
    coverage: { provider: 'custom', customProviderModule: './test/coverage/provider.ts' },
    projects: [
      {
        test: {
          ...common,
          name: 'node',
          include: ['test/**/*.test.ts'],
          exclude: ['test/vm/**'],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          // One guest at a time, and none while the others run: under TCG a guest takes a whole core.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
