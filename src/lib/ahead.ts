/** How much is under way at a time. */
interface AheadLimits<Item> {
  readonly countMax: number;
  /** Of all that is under way together, by `sizeOf`; of large items two are, whatever their size. */
  readonly sizeMax: number;
  readonly sizeOf: (item: Item) => number;
}

/**
 * What `work` makes of each item, in their order. Items are worked on before their turn, within the limits. Rejects as
 * the first one that fails; the others are then left to themselves.
 */
export async function* ahead<Item, Result>(
  items: Iterable<Item>,
  work: (item: Item) => Promise<Result>,
  { countMax, sizeMax, sizeOf }: AheadLimits<Item>,
): AsyncGenerator<Result> {
  const inFlight: { readonly result: Promise<Result>; readonly size: number }[] = [];
  let sizeInFlight = 0;
  const next = async (): Promise<Result> => {
    const { result, size } = inFlight.shift()!;
    sizeInFlight -= size;
    return result;
  };
  for (const item of items) {
    const size = sizeOf(item);
    while (inFlight.length === countMax || (inFlight.length > 1 && sizeInFlight + size > sizeMax))
      yield await next();
    const result = work(item);
    result.catch(() => {}); // Whoever awaits it gets the error; nobody does if an earlier one failed.
    inFlight.push({ result, size });
    sizeInFlight += size;
  }
  while (inFlight.length > 0) yield await next();
}
