/** Values that the orchestrator sets at run time (PUT /api/v1/config): flat, keyed `<id>:<key>`, in memory only. */
export class ConfigStore {
  readonly #values: Map<string, string> = new Map();

  /** Keys upstream takes (utils/src/config.rs). */
  static readonly keys: readonly string[] = ['registry_auth', 'proxy_url', 'dragonfly_scheduler_endpoint'];
  static readonly #ENTRIES_MAX = 65_536;

  /** The first key that may not be set, or null when all were stored. */
  put(id: string | null, values: Readonly<Record<string, string>>): string | null {
    for (const key of Object.keys(values)) {
      if (!ConfigStore.keys.includes(key)) return key;
    }
    for (const [key, value] of Object.entries(values)) {
      if (this.#values.size >= ConfigStore.#ENTRIES_MAX && !this.#values.has(prefix(id) + key)) return key;
      this.#values.set(prefix(id) + key, value);
    }
    return null;
  }

  /** With an id its values without the prefix, otherwise everything. */
  get(id: string | null): Record<string, string> {
    const own = prefix(id);
    const found = [...this.#values].filter(([key]) => key.startsWith(own));
    return Object.fromEntries(found.map(([key, value]) => [key.slice(own.length), value]));
  }
}

function prefix(id: string | null): string {
  return id === null ? '' : `${id}:`;
}
