/** Index of the first of the ascending `limits` that is above `value`; their number when none is. */
export function firstAbove(limits: readonly number[], value: number): number {
  let i = 0;
  while (i < limits.length && value >= limits[i]!) i++;
  return i;
}

/** Index of the first of the ascending `limits` that is not below `value`; their number when none is. */
export function firstNotBelow(limits: readonly number[], value: number): number {
  let i = 0;
  while (i < limits.length && value > limits[i]!) i++;
  return i;
}
