/**
 * Ends the process when the thread that fuzzes does not come to its next iteration: a loop cannot be seen from its own
 * thread.
 */
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

const { beats, limitMs, name } = workerData as { beats: Int32Array; limitMs: number; name: string };
const CHECK_MS = 250;
let last = -1;
let sinceMs = Date.now();

setInterval(() => {
  const [beat, seed, iteration] = [Atomics.load(beats, 0), Atomics.load(beats, 1), Atomics.load(beats, 2)];
  if (beat !== last) {
    last = beat;
    sinceMs = Date.now();
  } else if (Date.now() - sinceMs > limitMs) {
    writeSync(2, `fuzz: ${name}: seed ${seed >>> 0}, iteration ${iteration}: hangs for ${limitMs} ms\n`);
    process.kill(process.pid, 'SIGKILL');
  }
}, CHECK_MS);
parentPort?.postMessage('watching');
