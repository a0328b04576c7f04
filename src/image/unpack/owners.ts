import { readFileSync } from 'node:fs';

/** Names of this machine's users and groups by their numbers. */
export interface Owners {
  readonly users: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, string>;
}

/** Reads /etc/passwd and /etc/group; a file that cannot be read has no names. */
export function readOwners(passwd = '/etc/passwd', group = '/etc/group'): Owners {
  return { users: namesIn(passwd), groups: namesIn(group) };
}

/** Lines of NAME:PASSWORD:NUMBER:…; the first name of a number counts. passwd(5), group(5). */
function namesIn(path: string): Map<number, string> {
  const names = new Map<number, string>();
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return names;
  }
  for (const line of text.split('\n')) {
    const [name, , number] = line.split(':');
    if (!name || number === undefined || !/^[0-9]{1,10}$/.test(number)) continue;
    if (!names.has(Number(number))) names.set(Number(number), name);
  }
  return names;
}
