/**
 * @file The diagnostics channels of heaps, for tools that watch a program from inside.
 *
 * Not here: who publishes what (`heap.ts`, `heap-core.ts`, `debug.ts`).
 */
import { channel } from 'node:diagnostics_channel';
import type { Channel } from 'node:diagnostics_channel';

/** Each publishes a plain object with the `name` of the heap. */
export const channels: {
  readonly open: Channel;
  readonly close: Channel;
  readonly oom: Channel;
  readonly leak: Channel;
} = {
  /** `{ name, size, shared }`: a heap was created or attached. */
  open: channel('heapwright:heap.open'),
  /** `{ name, how }`: this thread let go, or destroyed the heap. */
  close: channel('heapwright:heap.close'),
  /** `{ name, requested, largestFree }`: a request could not be met. */
  oom: channel('heapwright:heap.oom'),
  /** `{ name, leaks }`: a debug heap was closed with live blocks. */
  leak: channel('heapwright:heap.leak'),
};
