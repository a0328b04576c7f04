// play.ts NAME: plays one scenario of vm/scenarios.ts and says what it shows.
import { scenarios } from './scenarios.ts';
import { Stage } from './stage.ts';

const [name = ''] = process.argv.slice(2);
const scenario = scenarios[name];

async function main(): Promise<number> {
  if (!scenario) {
    console.error(`no scenario "${name}"; there are: ${Object.keys(scenarios).join(', ')}`);
    return 2;
  }
  await using stage = new Stage((text) => process.stdout.write(text));
  const interrupted = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => interrupted.reject(new Error(`stopped by ${signal}`)));
  }
  try {
    await Promise.race([scenario(stage, (text) => console.log(`* ${text}`)), interrupted.promise]);
    console.log('PASS');
    return 0;
  } catch (error) {
    console.log(`FAIL: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

// Whatever still waits for a guest that is gone must not keep this process alive.
process.exit(await main());
