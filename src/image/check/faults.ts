/** Faults that are kept in words; a damaged image may have millions. */
const FAULTS_MAX = 100;

/** What is wrong with an image. */
export class Faults {
  /** The first ones: what is damaged, and the rule it breaks. */
  readonly list: string[] = [];
  /** All of them. */
  count = 0;

  add(place: string, rule: string): void {
    this.count++;
    if (this.list.length < FAULTS_MAX) this.list.push(`${place}: ${rule}`);
  }
}
