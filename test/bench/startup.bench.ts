/**
 * How long after its start the API of nydusd answers: median of ten starts, the first one (which fills the compile
 * cache) apart.
 */

import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Nydusd } from '../support/nydusd.ts';

const STARTS = 10;

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request({ socketPath, path: '/api/v1/daemon', agent: false }, (response) => {
      response.resume();
      response.once('end', () => resolve(true));
    });
    call.once('error', () => resolve(false));
    call.end();
  });
}

async function start(): Promise<number> {
  const startMs = performance.now();
  await using daemon = new Nydusd(['--log-level', 'error']);
  while (!(await answers(daemon.apisock))) await sleep(1);
  return performance.now() - startMs;
}

const first = await start();
const times: number[] = [];
for (let i = 0; i < STARTS; i++) times.push(await start());
times.sort((a, b) => a - b);
const [low, high] = [times[STARTS / 2 - 1]!, times[STARTS / 2]!];
console.log(
  `first start ${first.toFixed(0)} ms; then median ${((low + high) / 2).toFixed(0)} ms of ${STARTS}`,
);
console.log(`lowest ${times[0]!.toFixed(0)} ms, highest ${times.at(-1)!.toFixed(0)} ms`);
