import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { takeCoverage } from 'node:v8';
import type { CoverageProvider, CoverageProviderModule, TestSpecification, Vitest } from 'vitest/node';

function remove(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

/**
 * Vitest's coverage provider of `vitest run --coverage`. Node itself records what every process of the run executes,
 * the programs that tests spawn and all their threads included: with NODE_V8_COVERAGE each leaves a record when it
 * ends. Everywhere Node loads `src` itself, so all records speak of the same offsets. A killed process leaves none.
 */
class NodeCoverageProvider implements CoverageProvider {
  readonly name = 'node';
  #vitest!: Vitest;
  /** Of this run alone: two runs in one checkout do not mix. */
  #work!: string;
  /** Whether only some tests were asked for. */
  #partial = false;

  initialize(vitest: Vitest): void {
    this.#vitest = vitest;
    const { root } = vitest.config;
    this.#work = join(root, `build/coverage/run-${process.pid}`);
    // The workers have ended by then; what else is still ending may leave a record late.
    process.once('exit', () => remove(this.#work));
    // The workers of vitest inherit all this, and so does what they start.
    process.env.NODE_V8_COVERAGE = join(this.#work, 'records');
    // Functions from a compile cache have no block counters: all of one would count as executed once it is entered.
    process.env.NODE_DISABLE_COMPILE_CACHE = '1';
    // Without the cache half a second of every start would go into blanking types, so that is done once.
    process.env.NYDUS_COVERAGE_SOURCES = `${pathToFileURL(join(root, 'src')).href}/`;
    process.env.NYDUS_COVERAGE_BLANKED = `${pathToFileURL(join(this.#work, 'blanked')).href}/`;
    const preload = `--import ${pathToFileURL(join(root, 'test/coverage/preload.mjs')).href}`;
    process.env.NODE_OPTIONS = [process.env.NODE_OPTIONS, preload].filter(Boolean).join(' ');
  }

  resolveOptions(): ReturnType<CoverageProvider['resolveOptions']> {
    return this.#vitest.config.coverage;
  }

  async clean(): Promise<void> {
    // What runs that were killed left.
    const place = join(this.#vitest.config.root, 'build/coverage');
    for (const name of existsSync(place) ? readdirSync(place) : []) {
      const pid = /^run-(\d+)$/.exec(name)?.[1];
      if (pid && !existsSync(`/proc/${pid}`)) remove(join(place, name));
    }
    mkdirSync(join(this.#work, 'records'), { recursive: true });
    const done = await this.#run('blanked.ts', [join(this.#work, 'blanked')]);
    if (!done) throw new Error('the sources cannot be blanked');
  }

  async onTestRunStart(specifications: readonly TestSpecification[]): Promise<void> {
    const all = await this.#vitest.globTestSpecifications();
    this.#partial = specifications.length < all.length || this.#vitest.config.testNamePattern !== undefined;
  }

  onAfterSuiteRun(): void {}

  generateCoverage(): undefined {}

  /**
   * Prints and keeps the figures, unless a test failed: what it left out would look like a loss. A run of chosen tests
   * is not held to the floor.
   */
  async reportCoverage(): Promise<void> {
    const flags = this.#partial ? ['--partial'] : [];
    const done = await this.#run('report.ts', [join(this.#work, 'records'), ...flags]);
    if (!done) process.exitCode = 1;
  }

  /** Runs a script beside this one that is not measured itself, and does not hold up vitest, which ends its workers. */
  async #run(script: string, args: readonly string[]): Promise<boolean> {
    const { NODE_V8_COVERAGE: _, NODE_OPTIONS: __, ...env } = process.env;
    const path = join(this.#vitest.config.root, 'test/coverage', script);
    const command = ['--disable-warning=ExperimentalWarning', path, ...args];
    const [status] = await once(spawn(process.execPath, command, { stdio: 'inherit', env }), 'exit');
    return status === 0;
  }
}

const provider: CoverageProviderModule = {
  getProvider: () => new NodeCoverageProvider(),
  /** In a worker, after the last test of a file: vitest may kill it before it leaves a record by itself. */
  takeCoverage: () => takeCoverage(),
};

export default provider;
