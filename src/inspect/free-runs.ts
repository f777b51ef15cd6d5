/**
 * @file The free pages of a range as the runs that binary buddies would make of them.
 *
 * A gap between two blocks is cut from its start on into the largest runs that are a power of two long
 * and aligned to their length, which is the coarsest such cutting there is. So a bitmap allocator can be
 * shown in the terms of `/proc/buddyinfo` beside a buddy allocator.
 *
 * Alignment is counted from the start of the range, as buddies count it.
 */

/** Free runs by order, and the pages in them. */
export interface AlignedRuns {
  readonly freePages: number;
  readonly freeRuns: number[];
}

/**
 * Cuts what `spans` leaves free of `[start, start + size)`.
 *
 * @param spans - Start and end of each block, ascending, in bytes.
 */
export function alignedRuns(
  start: number,
  size: number,
  pageSize: number,
  spans: Float64Array,
): AlignedRuns {
  const freeRuns: number[] = [];
  let freePages = 0;
  const cut = (from: number, to: number): void => {
    let page = Math.ceil((from - start) / pageSize);
    const end = Math.floor((to - start) / pageSize);
    while (page < end) {
      let order = 0;
      while (page % 2 ** (order + 1) === 0 && page + 2 ** (order + 1) <= end) order++;
      while (freeRuns.length <= order) freeRuns.push(0);
      freeRuns[order] = (freeRuns[order] as number) + 1;
      freePages += 2 ** order;
      page += 2 ** order;
    }
  };
  let at = start;
  for (let i = 0; i < spans.length; i += 2) {
    const blockStart = spans[i] as number;
    if (blockStart < start || blockStart >= start + size) continue;
    if (blockStart > at) cut(at, blockStart);
    at = spans[i + 1] as number;
  }
  cut(at, start + size);
  return { freePages, freeRuns };
}
