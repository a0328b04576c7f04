/** Resolves with the result of work that the addon does on a pool thread, or with what refused it. */
export function onPool(start: (done: (result: number) => void) => number): Promise<number> {
  return new Promise((resolve) => {
    const started = start(resolve);
    if (started !== 0) resolve(started);
  });
}
