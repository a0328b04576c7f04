import type { Events } from '../../service/nydusd/control.ts';

const ERRORS_MAX = 500;
const BYTES_MAX = 51_200;

/** The last errors, for GET /api/v1/daemon/events; old ones go when either bound is reached. */
export class EventLog {
  readonly #errors: string[] = [];
  #total = 0;
  #bytes = 0;

  add(message: string): void {
    const line = `${new Date().toUTCString()} - ${message}`.slice(0, 4096);
    this.#errors.push(line);
    this.#total++;
    this.#bytes += Buffer.byteLength(line);
    while (this.#errors.length > ERRORS_MAX || this.#bytes > BYTES_MAX) {
      this.#bytes -= Buffer.byteLength(this.#errors.shift()!);
    }
  }

  show(): Events {
    return {
      max_errors: ERRORS_MAX,
      total_errors: this.#total,
      max_size: BYTES_MAX,
      total_size: this.#bytes,
      errors: [...this.#errors],
    };
  }
}
