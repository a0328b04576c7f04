import { defineConfig } from 'vitest/config';

// The addon keeps process-wide devices; forks give each file its own process.
const common = { pool: 'forks', testTimeout: 60_000, hookTimeout: 60_000 } as const;

export default defineConfig({
  test: {
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
