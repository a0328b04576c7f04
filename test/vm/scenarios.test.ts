import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { repository } from '../../vm/process.ts';
import { mount, queues, reboot, reconnect, type Scenario, twoPseudoMounts } from '../../vm/scenarios.ts';
import { Stage } from '../../vm/stage.ts';

/** Under TCG on two shared cores a scenario takes half a minute. */
const SCENARIO_TIMEOUT_MS = 600_000;

beforeAll(() => {
  const deps = spawnSync('sh', [join(repository, 'vm/deps.sh')], { encoding: 'utf8' });
  expect(deps.status, `vm/deps.sh: ${deps.stderr}`).toBe(0);
}, SCENARIO_TIMEOUT_MS);

async function play(scenario: Scenario): Promise<void> {
  await using stage = new Stage();
  const shown: string[] = [];
  try {
    await scenario(stage, (text) => shown.push(text));
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\nUntil then:\n${shown.join('\n')}`);
  }
}

test(
  'a guest mounts one image at the root, reads every byte of it and cannot write',
  { timeout: SCENARIO_TIMEOUT_MS },
  () => play(mount),
);

test(
  'images appear and disappear under a guest that has already looked',
  { timeout: SCENARIO_TIMEOUT_MS },
  () => play(twoPseudoMounts),
);

test(
  'the tree is the same after umount and mount and after a guest reboot',
  { timeout: SCENARIO_TIMEOUT_MS },
  () => play(reboot),
);

test(
  'after QEMU was killed another guest finds the mounts on the same socket',
  { timeout: SCENARIO_TIMEOUT_MS },
  () => play(reconnect),
);

test('small queues and several queues serve the same tree', { timeout: SCENARIO_TIMEOUT_MS }, () =>
  play(queues),
);
