/** Cold calls into libc through koffi, which is loaded with the first of them. They throw SystemError. */
import { createRequire } from 'node:module';
import type Koffi from 'koffi';
import { SystemError } from './index.ts';

/** Flags of mount(2). */
export const MountFlag = { readOnly: 1, noSuid: 2, noDev: 4 } as const;
/** umount2(2): leave the tree now, when its last user goes. */
export const MNT_DETACH = 2;

interface Libc {
  mount(source: string, target: string, type: string, flags: number, data: string): number;
  umount2(target: string, flags: number): number;
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  getrlimit(resource: number, limits: BigUint64Array): number;
  setrlimit(resource: number, limits: BigUint64Array): number;
  errno(): number;
}

let loaded: Libc | null = null;

function libc(): Libc {
  if (loaded !== null) return loaded;
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const library = koffi.load('libc.so.6');
  const long = 'unsigned long';
  const declare = <T>(prototype: string): T => library.func(prototype) as unknown as T;
  loaded = {
    mount: declare(`int mount(str source, str target, str type, ${long} flags, str data)`),
    umount2: declare('int umount2(str target, int flags)'),
    prctl: declare(`int prctl(int option, ${long} a, ${long} b, ${long} c, ${long} d)`),
    getrlimit: declare('int getrlimit(int resource, uint64_t *limits)'),
    setrlimit: declare('int setrlimit(int resource, const uint64_t *limits)'),
    errno: () => koffi.errno(),
  };
  return loaded;
}

function check(result: number, syscall: string): void {
  if (result < 0) throw new SystemError(-libc().errno(), syscall);
}

/** mount(2). `data` is the file system's option string. */
export function mount(source: string, target: string, type: string, flags: number, data: string): void {
  check(libc().mount(source, target, type, flags, data), 'mount');
}

/** umount2(2). */
export function umount(target: string, flags = 0): void {
  check(libc().umount2(target, flags), 'umount2');
}

const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;

/** No core dumps of this process, which would hold guest data, and no ptrace by its user's other processes. */
export function forbidDumps(): void {
  check(libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 'prctl(PR_SET_DUMPABLE)');
}

/** Programs that this process starts cannot gain rights through set-user-ID. Not to be undone. */
export function forbidNewPrivileges(): void {
  check(libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl(PR_SET_NO_NEW_PRIVS)');
}

const RLIMIT_NOFILE = 7;

/** Soft and hard limit. */
export interface OpenFilesLimit {
  readonly soft: number;
  readonly hard: number;
}

/** Raises the soft limit to `wanted`, and the hard one if allowed; never lowers. Answers what holds now. */
export function raiseOpenFilesLimit(wanted: number): OpenFilesLimit {
  const limits = new BigUint64Array(2);
  check(libc().getrlimit(RLIMIT_NOFILE, limits), 'getrlimit');
  const [soft, hard] = [limits[0]!, limits[1]!];
  const target = BigInt(wanted);
  if (soft >= target) return { soft: Number(soft), hard: Number(hard) };
  const set = (newHard: bigint): number => {
    limits.set([target < newHard ? target : newHard, newHard]);
    return libc().setrlimit(RLIMIT_NOFILE, limits);
  };
  // Beyond the hard limit only a privileged process comes; any other gets as far as that limit.
  if (target <= hard || set(target) < 0) check(set(hard), 'setrlimit');
  return { soft: Number(limits[0]), hard: Number(limits[1]) };
}
