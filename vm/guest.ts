import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { ended, repository, start, until } from './process.ts';

/** TCG on a loaded machine takes ten times what KVM takes. */
const BOOT_TIMEOUT_MS = 180_000;
const COMMAND_TIMEOUT_MS = 180_000;

/** How a guest is booted. */
export interface GuestOptions {
  /** The vhost-user socket of the daemon. */
  readonly sock: string;
  /** Directory for the control socket and the console log. Short: a unix socket's path has at most 107 bytes. */
  readonly directory: string;
  /** Further properties of the vhost-user-fs-pci device, as `indirect_desc=false,event_idx=false`. */
  readonly deviceOptions?: string;
  /** Descriptors in each virtqueue; 1024 unless given. */
  readonly queueSize?: number;
  /** Processors; 1 unless given. */
  readonly smp?: number;
  /** Told everything that boot.sh and QEMU print, the command line first. */
  readonly onOutput?: (text: string) => void;
}

/** What a command in the guest answered. */
export interface Answer {
  readonly code: number;
  /** Its standard output and error, as bytes: file names need not be UTF-8. */
  readonly output: Buffer;
}

/**
 * A running guest that takes shell commands over its second serial port.
 *
 * A command is one line, `ID command`; the answer stands between `@begin ID` and `@end ID exit-code`. The ID is
 * random, so that nothing a command prints can be taken for the frame. See `vm/init` for the other side.
 */
export class Guest {
  readonly #qemu: ChildProcess;
  readonly #control: Socket;
  readonly #console: string;
  #received: Buffer = Buffer.alloc(0);
  #wake: () => void = () => {};
  #qemuOutput: string[];

  private constructor(qemu: ChildProcess, control: Socket, console: string, qemuOutput: string[]) {
    this.#qemu = qemu;
    this.#control = control;
    this.#console = console;
    this.#qemuOutput = qemuOutput;
    control.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk as Buffer]);
      this.#wake();
    });
    control.on('error', () => this.#wake());
    control.on('close', () => this.#wake());
  }

  /** Boots a guest and waits until it takes commands. */
  static async boot(options: GuestOptions): Promise<Guest> {
    const control = join(options.directory, 'control.sock');
    const console = join(options.directory, 'console.log');
    const output: string[] = [];
    // A killed QEMU leaves its socket behind.
    rmSync(control, { force: true });
    const qemu = start(
      'sh',
      [
        join(repository, 'qemu-scripts/boot.sh'),
        ...['--sock', options.sock, '--control', control, '--log', console],
        ...(options.deviceOptions ? ['--device-options', options.deviceOptions] : []),
        ...(options.queueSize ? ['--queue-size', String(options.queueSize)] : []),
        ...(options.smp ? ['--smp', String(options.smp)] : []),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [qemu.stdout, qemu.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        output.push(chunk.toString());
        options.onOutput?.(chunk.toString());
      });
    }
    try {
      const socket = await until('QEMU opens its control socket', BOOT_TIMEOUT_MS, () => {
        if (qemu.exitCode !== null) throw new Error(`QEMU ended: exit ${qemu.exitCode}\n${output.join('')}`);
        return tryConnect(control);
      });
      const guest = new Guest(qemu, socket, console, output);
      await guest.#take('@ready\n', BOOT_TIMEOUT_MS);
      return guest;
    } catch (error) {
      qemu.kill('SIGTERM');
      throw error;
    }
  }

  /** Runs a shell command in the guest, which must be a single line. */
  async run(command: string, timeoutMs: number = COMMAND_TIMEOUT_MS): Promise<Answer> {
    if (command.includes('\n')) throw new Error('a guest command is one line');
    const id = randomBytes(8).toString('hex');
    this.#control.write(`${id} ${command}\n`);
    await this.#take(`@begin ${id}\n`, timeoutMs, command);
    const output = await this.#take(`@end ${id} `, timeoutMs, command);
    const code = await this.#take('\n', timeoutMs, command);
    return { code: Number(code.toString()), output };
  }

  /** Runs a command that must succeed; returns what it printed, as text. */
  async text(command: string, timeoutMs?: number): Promise<string> {
    const { code, output } = await this.run(command, timeoutMs);
    if (code !== 0) throw new Error(`guest: ${command}: exit ${code}\n${output.toString()}`);
    return output.toString();
  }

  /** Resets the machine without a shutdown, as `reboot -f` does, and waits until it takes commands again. */
  async reboot(): Promise<void> {
    this.#control.write(`${randomBytes(8).toString('hex')} reboot -f\n`);
    await this.#take('@ready\n', BOOT_TIMEOUT_MS, 'reboot -f');
  }

  /** Powers the guest off and waits for QEMU to end. */
  async powerOff(): Promise<void> {
    this.#control.write(`${randomBytes(8).toString('hex')} poweroff -f\n`);
    await ended(this.#qemu, 30_000);
  }

  /** Ends QEMU with SIGKILL, as a crash of the virtual machine monitor would; its script then cleans up. */
  async kill(): Promise<void> {
    const script = this.#qemu.pid;
    if (this.#running && script !== undefined)
      for (const pid of children(script)) process.kill(pid, 'SIGKILL');
    await ended(this.#qemu, 10_000);
    this.#control.destroy();
  }

  get #running(): boolean {
    return this.#qemu.exitCode === null && this.#qemu.signalCode === null;
  }

  /** What the guest's kernel printed. */
  console(): string {
    return existsSync(this.#console) ? readFileSync(this.#console, 'latin1') : '';
  }

  /** Waits for `mark`; returns the bytes before it. */
  async #take(mark: string, timeoutMs: number, doing = 'boot'): Promise<Buffer> {
    const deadline = Date.now() + timeoutMs;
    let searched = 0;
    for (;;) {
      const at = this.#received.indexOf(mark, Math.max(0, searched - mark.length));
      if (at >= 0) {
        const before = this.#received.subarray(0, at);
        this.#received = this.#received.subarray(at + mark.length);
        return before;
      }
      searched = this.#received.length;
      if (this.#control.destroyed || this.#control.readableEnded)
        throw this.#failure(`QEMU ended during: ${doing}`);
      if (Date.now() > deadline)
        throw this.#failure(`the guest gave no answer within ${timeoutMs} ms to: ${doing}`);
      await this.#moreBytes(Math.min(deadline - Date.now(), 1000));
    }
  }

  #moreBytes(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #failure(what: string): Error {
    const tail = this.console().split('\n').slice(-15).join('\n');
    const said = this.#received.subarray(-2000).toString('latin1');
    return new Error(
      `${what}\n-- console --\n${tail}\n-- control --\n${said}\n-- QEMU --\n${this.#qemuOutput.join('')}`,
    );
  }
}

/** Process ids of the children of a process. */
function children(pid: number): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return list === '' ? [] : list.split(' ').map(Number);
}

function tryConnect(path: string): Promise<Socket | undefined> {
  if (!existsSync(path)) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', () => resolve(undefined));
  });
}
