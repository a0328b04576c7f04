import { afterEach } from 'vitest';
import { eventfdRead } from '../../support/descriptors.ts';
import { DATA_AT, Harness, type HarnessOptions, NEXT, WRITE } from './ring-harness.ts';

const open: Harness[] = [];

/** A harness whose ring is not attached yet; closed after the test. */
export function unattached(options: HarnessOptions = {}): Harness {
  const harness = new Harness(options);
  open.push(harness);
  return harness;
}

/** A harness with its ring attached; closed after the test. */
export function ring(options: HarnessOptions = {}): Harness {
  return unattached(options).attach();
}

afterEach(() => {
  for (const harness of open.splice(0)) harness.close();
});

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** A direct chain of one readable and one writable descriptor, at heads `head` and `head`+1. */
export function direct(h: Harness, head: number, request: string, writable: number): void {
  const at = DATA_AT + head * 0x2000;
  h.bytes.set(Buffer.from(request), at);
  h.desc(head, h.gpa(at), request.length, NEXT, head + 1);
  h.desc(head + 1, h.gpa(at + 0x1000), writable, WRITE);
}

/** Serves one request and says whether the guest was notified. */
export function served(h: Harness): boolean {
  eventfdRead(h.call);
  direct(h, 0, 'x', 8);
  h.offer(0);
  h.pop();
  h.complete(h.popped[0]!, Buffer.from('y'));
  h.flush(h.popped[0]!);
  return eventfdRead(h.call) === 1;
}
