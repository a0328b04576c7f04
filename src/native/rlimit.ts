/** The limit of open files, through libc. Cold: loaded once at start. */
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

const RLIMIT_NOFILE = 7;

/** Soft and hard limit. */
export interface OpenFilesLimit {
  readonly soft: number;
  readonly hard: number;
}

interface Libc {
  get(resource: number, limits: BigUint64Array): number;
  set(resource: number, limits: BigUint64Array): number;
}

function libc(): Libc {
  const library = koffi.load(null);
  return {
    get: library.func('int getrlimit(int resource, uint64_t *limits)') as unknown as Libc['get'],
    set: library.func('int setrlimit(int resource, const uint64_t *limits)') as unknown as Libc['set'],
  };
}

/** Raises the soft limit to `wanted`, and the hard one if allowed; never lowers. Answers what holds now. Throws when refused. */
export function raiseOpenFilesLimit(wanted: number): OpenFilesLimit {
  const { get, set } = libc();
  const limits = new BigUint64Array(2);
  if (get(RLIMIT_NOFILE, limits) !== 0) throw new Error(`getrlimit: ${lastError()}`);
  const [soft, hard] = [limits[0]!, limits[1]!];
  const target = BigInt(wanted);
  if (soft >= target) return { soft: Number(soft), hard: Number(hard) };
  const attempt = (newHard: bigint) => {
    limits.set([target < newHard ? target : newHard, newHard]);
    return set(RLIMIT_NOFILE, limits) === 0;
  };
  if (target <= hard ? !attempt(hard) : !attempt(target) && !attempt(hard)) {
    throw new Error(`setrlimit: ${lastError()}`);
  }
  return { soft: Number(limits[0]), hard: Number(limits[1]) };
}

function lastError(): string {
  return getSystemErrorName(-koffi.errno());
}
