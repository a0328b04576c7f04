import { ControlError } from '../../service/nydusd/control.ts';

/** Keys upstream takes (utils/src/config.rs). */
const KEYS: readonly string[] = ['registry_auth', 'proxy_url', 'dragonfly_scheduler_endpoint'];
const ENTRIES_MAX = 65_536;

/**
 * What the orchestrator sets while the daemon runs, in memory only: credentials and endpoints that change more often
 * than configuration files. Values belong to the id of a mount's configuration, or to none; who needs one reads it when
 * it is used.
 */
export class RuntimeConfig {
  /** Keyed `<id>:<key>`, in the order in which they were first set. */
  readonly #values: Map<string, string> = new Map();

  /** Sets all or, where a key is none that can be set, nothing. Throws CONFIG_REFUSED. */
  set(id: string | null, values: Readonly<Record<string, string>>): void {
    const unknown = Object.keys(values).find((key) => !KEYS.includes(key));
    if (unknown !== undefined) {
      const rule = `not a key of the store; it takes ${KEYS.join(', ')}`;
      throw new ControlError('CONFIG_REFUSED', null, `${unknown.slice(0, 64)}: ${rule}`);
    }
    const added = Object.keys(values).filter((key) => !this.#values.has(prefix(id) + key));
    if (this.#values.size + added.length > ENTRIES_MAX) {
      throw new ControlError('CONFIG_REFUSED', null, `the store is full: it holds ${ENTRIES_MAX} values`);
    }
    for (const [key, value] of Object.entries(values)) this.#values.set(prefix(id) + key, value);
  }

  /** With an id its values by key, otherwise everything. */
  get(id: string | null): Record<string, string> {
    const own = prefix(id);
    const found = [...this.#values].filter(([key]) => key.startsWith(own));
    return Object.fromEntries(found.map(([key, value]) => [key.slice(own.length), value]));
  }
}

function prefix(id: string | null): string {
  return id === null ? '' : `${id}:`;
}
