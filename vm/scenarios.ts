import type { Daemon } from './daemon.ts';
import type { Guest } from './guest.ts';
import { until } from './process.ts';
import { type Example, type Stage, verify } from './stage.ts';

/** How long the guest may go on believing what it has seen of a pseudo directory. */
const VISIBLE_WITHIN_MS = 10_000;

const MOUNT = 'mount -t virtiofs nydus /mnt';

/** Tells what a scenario has just shown. */
export type Say = (text: string) => void;

/** Plays one scenario on a stage; throws where the guest sees anything else than it should. */
export type Scenario = (stage: Stage, say: Say) => Promise<void>;

/** Waits until `ls` of a directory in the guest shows exactly these names. */
async function shows(guest: Guest, directory: string, names: readonly string[]): Promise<void> {
  const wanted = names.join('\n');
  await until(`${directory} shows [${names.join(' ')}]`, VISIBLE_WITHIN_MS, async () => {
    const { code, output } = await guest.run(`ls -A1 ${directory}`);
    return code === 0 && output.toString().trim() === wanted ? true : undefined;
  });
}

/** Waits until a path is (or is no longer) there. */
async function exists(guest: Guest, path: string, wanted: boolean): Promise<void> {
  await until(`${path} ${wanted ? 'appears' : 'disappears'}`, VISIBLE_WITHIN_MS, async () => {
    const { code } = await guest.run(`test -e ${path}`);
    return (code === 0) === wanted ? true : undefined;
  });
}

async function mountExample(daemon: Daemon, mountpoint: string, example: Example): Promise<void> {
  await daemon.mount(mountpoint, example.bootstrap, example.config);
}

/** One image, named on the command line, at the root of the guest's mount. */
export const mount: Scenario = async (stage, say) => {
  const example = stage.example('whole', { fsVersion: 6, compressor: 'lz4_block' });
  const daemon = await stage.daemon(['--bootstrap', example.bootstrap, '--config', example.configFile]);
  const guest = await stage.boot(daemon);
  await guest.text(MOUNT);
  say(`${await verify(guest, '/mnt', example)} entries equal at the root of the mount`);
  await readOnly(guest);
  say('writing, making, removing and renaming fail with a read-only file system');
  await guest.powerOff();
};

async function readOnly(guest: Guest): Promise<void> {
  const attempts = ['echo x >/mnt/new', 'echo x >>/mnt/etc/hostname', 'mkdir /mnt/d', 'rm /mnt/etc/hostname'];
  for (const attempt of [...attempts, 'mv /mnt/etc /mnt/etcetera', 'chmod 700 /mnt/etc', 'ln -s a /mnt/b']) {
    const { code, output } = await guest.run(attempt);
    if (code === 0 || !/Read-only file system/.test(output.toString())) {
      throw new Error(`${attempt}: exit ${code}: ${output}`);
    }
  }
}

/** Two images in one tree, coming and going under a guest that has already looked. */
export const twoPseudoMounts: Scenario = async (stage, say) => {
  const one = stage.example('pseudo_1', { fsVersion: 5, compressor: 'zstd' });
  const two = stage.example('pseudo_2', { fsVersion: 6, compressor: 'none' });
  const daemon = await stage.daemon();
  const guest = await stage.boot(daemon);
  await guest.text(MOUNT);
  await shows(guest, '/mnt', []);
  await exists(guest, '/mnt/pseudo_1', false);
  say('nothing is to be seen before the first mount');
  await mountExample(daemon, '/pseudo_1', one);
  await exists(guest, '/mnt/pseudo_1', true);
  await shows(guest, '/mnt', ['pseudo_1']);
  await mountExample(daemon, '/pseudo_2', two);
  await shows(guest, '/mnt', ['pseudo_1', 'pseudo_2']);
  for (const example of [one, two]) {
    say(`${await verify(guest, `/mnt/${example.name}`, example)} entries of ${example.name} equal`);
  }
  await mountExample(daemon, '/deep/er/again', one);
  await shows(guest, '/mnt', ['deep', 'pseudo_1', 'pseudo_2']);
  say(`${await verify(guest, '/mnt/deep/er/again', one)} entries equal at a nested path`);
  await daemon.unmount('/deep/er/again');
  await daemon.unmount('/pseudo_1');
  await exists(guest, '/mnt/pseudo_1', false);
  await shows(guest, '/mnt', ['pseudo_2']);
  say('after unmounting, the image and the directories that led only to it are gone');
  say(`${await verify(guest, '/mnt/pseudo_2', two)} entries of the other are as before`);
  await guest.powerOff();
};

/** The guest reboots, unmounts and mounts again under the same daemon and the same connection. */
export const reboot: Scenario = async (stage, say) => {
  const example = stage.example('image', { fsVersion: 5, compressor: 'lz4_block' });
  const daemon = await stage.daemon();
  await mountExample(daemon, '/image', example);
  const guest = await stage.boot(daemon);
  await guest.text(MOUNT);
  say(`${await verify(guest, '/mnt/image', example)} entries equal`);
  await guest.text('umount /mnt');
  await guest.text(MOUNT);
  say(`${await verify(guest, '/mnt/image', example)} entries equal after umount and mount`);
  await guest.reboot();
  await guest.text(MOUNT);
  say(`${await verify(guest, '/mnt/image', example)} entries equal after a reset without umount`);
  await guest.powerOff();
  if (!daemon.running) throw new Error(`nydusd ended with the guest\n${daemon.log()}`);
};

/** QEMU dies; another one is joined to the same socket and finds the mounts that were there. */
export const reconnect: Scenario = async (stage, say) => {
  const example = stage.example('image', { fsVersion: 6, compressor: 'zstd' });
  const daemon = await stage.daemon();
  const first = await stage.boot(daemon);
  await first.text(MOUNT);
  await mountExample(daemon, '/image', example);
  await exists(first, '/mnt/image', true);
  await first.text('cat /mnt/image/usr/lib/text | wc -c');
  await first.kill();
  say('the first QEMU was killed with the file system mounted');
  const second = await stage.boot(daemon, { deviceOptions: 'indirect_desc=false,event_idx=false' });
  await second.text(MOUNT);
  say(
    `${await verify(second, '/mnt/image', example)} entries equal in another guest, without indirect_desc and event_idx`,
  );
  await second.powerOff();
  const code = await daemon.stop();
  if (code !== 0) throw new Error(`nydusd ended with ${code} on SIGTERM\n${daemon.log()}`);
  say('nydusd ended with 0 on SIGTERM');
};

/** Guests with small and with several request queues, one after the other under one daemon. */
export const queues: Scenario = async (stage, say) => {
  const example = stage.example('image', { fsVersion: 6, compressor: 'zstd' });
  const daemon = await stage.daemon();
  await mountExample(daemon, '/image', example);
  for (const [queueSize, requestQueues] of [
    [16, 1],
    [128, 2],
    [1024, 4],
  ] as const) {
    const deviceOptions = `num-request-queues=${requestQueues}`;
    const guest = await stage.boot(daemon, { queueSize, deviceOptions, smp: 2 });
    await guest.text(MOUNT);
    const entries = await verify(guest, '/mnt/image', example);
    say(`${entries} entries equal with ${requestQueues} request queues of ${queueSize} descriptors`);
    await guest.powerOff();
  }
};

/** All scenarios by the name of their script in `qemu-scripts`. */
export const scenarios: Record<string, Scenario> = {
  mount,
  'two-pseudo-mounts': twoPseudoMounts,
  reboot,
  reconnect,
  queues,
};
