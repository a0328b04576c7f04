// npm run demo: a QEMU guest mounts one virtio-fs tree, two RAFS images are mounted into it with curl while the guest
// runs, and every entry of both is compared with the tree it was built from.
import type { Daemon } from './daemon.ts';
import type { Guest } from './guest.ts';
import { run } from './process.ts';
import { type Example, Stage, verify } from './stage.ts';

function heading(text: string): void {
  console.log(`\n== ${text}`);
}

function indented(text: string): void {
  console.log(text.trimEnd().replace(/^/gm, '    '));
}

/** Runs curl as the user would type it, prints the command and the status it answered. */
function curl(daemon: Daemon, method: string, path: string, body: object): void {
  const json = JSON.stringify(body);
  const args = ['--unix-socket', daemon.apisock, '-X', method, `http://localhost${path}`];
  args.push('-H', 'Content-Type: application/json', '-d', json);
  const shown = args.map((word) => (/[\s"{}?&]/.test(word) ? `'${word}'` : word)).join(' ');
  console.log(`    $ curl ${shown}`);
  const answer = run('curl', ['-sS', '-w', '\n%{http_code}', ...args])
    .toString()
    .trim();
  console.log(`    HTTP ${answer}`);
  if (!/^20[04]$/m.test(answer)) throw new Error(`the mount was refused: ${answer}`);
}

async function show(guest: Guest, command: string): Promise<void> {
  console.log(`    guest# ${command}`);
  indented(await guest.text(command));
}

async function lookAround(guest: Guest, example: Example): Promise<void> {
  await show(guest, 'ls -la /mnt');
  await show(guest, `ls -l /mnt/${example.name} /mnt/${example.name}/usr/bin`);
  await show(guest, `cat /mnt/${example.name}/etc/os-release`);
}

async function story(stage: Stage): Promise<void> {
  heading('Two source trees, and images of them built by bin/nydus-image');
  const first = stage.example('pseudo_1', { fsVersion: 5, compressor: 'lz4_block' });
  console.log(`    ${first.name}: RAFS v5, lz4_block, ${first.entries} entries`);
  const second = stage.example('pseudo_2', { fsVersion: 6, compressor: 'zstd' });
  console.log(`    ${second.name}: RAFS v6, zstd, ${second.entries} entries`);

  heading('bin/nydusd virtiofs, with nothing mounted');
  const daemon = await stage.daemon();
  console.log(`    listening on ${daemon.sock} and ${daemon.apisock}`);

  heading('A guest in QEMU, by qemu-scripts/boot.sh');
  const guest = await stage.boot(daemon);
  await show(guest, 'uname -srm');
  await show(guest, 'mount -t virtiofs nydus /mnt && ls -la /mnt');

  heading('The first image, mounted with the request of 2020');
  const body = { source: first.bootstrap, fstype: 'rafs', mountpoint: '/pseudo_1', config: first.configFile };
  curl(daemon, 'PUT', '/api/v1/mount', body);
  await lookAround(guest, first);

  heading("The second image, mounted with today's request");
  const config = JSON.stringify(second.config);
  curl(daemon, 'POST', '/api/v1/mount?mountpoint=/pseudo_2', {
    source: second.bootstrap,
    fs_type: 'rafs',
    config,
  });
  await lookAround(guest, second);

  heading('Every entry as the guest sees it, against the source tree');
  for (const example of [first, second]) {
    const entries = await verify(guest, `/mnt/${example.name}`, example);
    console.log(
      `    ${example.name}: ${entries} entries equal: sha256, type, mode, owner, mtime, links, xattrs`,
    );
  }
  await show(guest, 'umount /mnt && echo unmounted');
  await guest.powerOff();
}

async function main(): Promise<number> {
  await using stage = new Stage(indented);
  const interrupted = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => interrupted.reject(new Error(`stopped by ${signal}`)));
  }
  try {
    await Promise.race([story(stage), interrupted.promise]);
    heading('PASS');
    return 0;
  } catch (error) {
    heading(`FAIL: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

// Whatever still waits for a guest that is gone must not keep this process alive.
process.exit(await main());
