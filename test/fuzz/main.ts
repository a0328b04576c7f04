/**
 * `main.ts [smoke] [--target NAME] [--seed N] [--from ITERATION] [--iterations N] [--seconds N]`: runs one target, or
 * each for as long. Exit status 1 and the seed on stderr when something was found. `asan.ts` runs this with the address
 * sanitizer.
 */
import { parseArgs } from 'node:util';
import { addon } from '../../src/native/index.ts';
import { run } from './runner.ts';
import { targets } from './targets.ts';

/** The same inputs every time, on a slow machine too. */
const SMOKE_ITERATIONS = 600;
const DEFAULT_SECONDS = 60;

function number(value: string | undefined, name: string): number | undefined {
  if (value === undefined) return undefined;
  const result = Number(value);
  if (!Number.isInteger(result) || result < 0)
    throw new Error(`--${name} must be a whole number, is ${value}`);
  return result;
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { target: text, seed: text, from: text, iterations: text, seconds: text },
  });
  const isSmoke = positionals.length === 1 && positionals[0] === 'smoke';
  if (positionals.length > 0 && !isSmoke) throw new Error(`unknown argument ${positionals.join(' ')}`);
  const names = values.target === undefined ? Object.keys(targets) : [values.target];
  const seed = number(values.seed, 'seed') ?? (isSmoke ? 1 : Date.now() % 1_000_000);
  const iterations = number(values.iterations, 'iterations') ?? (isSmoke ? SMOKE_ITERATIONS : undefined);
  const seconds =
    number(values.seconds, 'seconds') ?? (iterations === undefined ? DEFAULT_SECONDS : undefined);
  for (const name of names) {
    const make = targets[name];
    if (make === undefined)
      throw new Error(`no target ${name}: ${Object.keys(targets).join(', ')} are known`);
    const from = number(values.from, 'from') ?? 0;
    const result = await run(name, make, addon, {
      seed,
      from,
      ...(iterations === undefined ? {} : { iterations }),
      ...(seconds === undefined ? {} : { seconds }),
    });
    console.log(JSON.stringify({ target: name, seed, ...result }));
  }
}

try {
  await main();
} catch (error) {
  console.error(`fuzz: ${error instanceof Error ? error.message : error}`);
  // What the failed iteration left open must not keep the process.
  process.exit(1);
}
