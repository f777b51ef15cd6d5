/** @file The whole suite, in the order of its numbers. */
import { crateWorkloads } from './crates.ts';
import { heapWorkloads } from './heap.ts';
import { memoryWorkloads } from './memory.ts';
import { threadWorkloads } from './threads.ts';
import type { Workload } from './types.ts';

const number = ({ id }: Workload): number => Number(id.slice(1));

/** B1 to B18. */
export const suite: readonly Workload[] = [
  ...heapWorkloads,
  ...crateWorkloads,
  ...threadWorkloads,
  ...memoryWorkloads,
].toSorted((left, right) => number(left) - number(right));
