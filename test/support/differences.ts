/** How far sizes may be apart that depend on a codec's version: 3 %, and a little where there is little. */
const TOLERANCE = 0.03;
const TOLERANCE_BYTES = 64;

/** Collects lines `where: field is X, expected Y`. */
export class Differences {
  readonly lines: string[] = [];

  add(line: string): void {
    this.lines.push(line);
  }

  equal(where: string, field: string, expected: unknown, actual: unknown): void {
    const [wanted, found] = [show(expected), show(actual)];
    if (wanted !== found) this.add(`${where}: ${field} is ${found}, expected ${wanted}`);
  }

  /** Sizes and offsets that follow from compressed bytes. */
  near(where: string, field: string, expected: number, actual: number): void {
    if (Math.abs(expected - actual) <= Math.max(TOLERANCE_BYTES, expected * TOLERANCE)) return;
    this.add(`${where}: ${field} is ${actual}, expected ${expected} within 3 %`);
  }

  /** Every field of `expected`. */
  fields(
    where: string,
    expected: Readonly<Record<string, unknown>>,
    actual: Readonly<Record<string, unknown>>,
  ): void {
    for (const [field, value] of Object.entries(expected)) this.equal(where, field, value, actual[field]);
  }
}

function show(value: unknown): string {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value);
}
