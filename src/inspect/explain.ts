/**
 * @file What an allocator did in a step, in words, by comparing the state before and after.
 *
 * Only what can be seen is said: free runs that came and went (split, merge), slabs that were made or
 * given back (refill), frees that wait for their owner (remote free, drain), bytes granted beyond what was
 * asked for (rounding). A wrapped family shows no free lists, so of it only the last can be told.
 */
import type { Snapshot, SnapshotSlabClass } from './snapshot.ts';
import { bytesText } from './text.ts';

/** Sentences about the step between two snapshots of one allocator; empty if nothing changed. */
export function explain(before: Snapshot, after: Snapshot): string[] {
  return [
    ...runChanges(before, after),
    ...slabChanges(before, after),
    ...heapChanges(before, after),
    ...grantChanges(before, after),
  ];
}

function runChanges(before: Snapshot, after: Snapshot): string[] {
  const words: string[] = [];
  after.sections?.forEach((section, index) => {
    const old = before.sections?.[index]?.freeRuns ?? [];
    const { freeRuns } = section;
    const gone: number[] = [];
    const come: number[] = [];
    for (let order = 0; order < Math.max(old.length, freeRuns.length); order++) {
      const change = (freeRuns[order] ?? 0) - (old[order] ?? 0);
      for (let i = 0; i < Math.abs(change); i++) (change < 0 ? gone : come).push(order);
    }
    const where = (after.sections?.length ?? 0) > 1 ? ` in section ${index}` : '';
    if (before.sections?.[index] === undefined)
      words.push(`new section ${index}: ${runs(come)} free`);
    else words.push(...runWords(gone, come, where));
  });
  return words;
}

function runWords(gone: readonly number[], come: readonly number[], where: string): string[] {
  if (gone.length === 0 && come.length === 0) return [];
  const pagesGone = pagesOf(gone);
  const pagesCome = pagesOf(come);
  if (gone.length === 0) return [`free: ${runs(come)}${where}; no neighbor was free to merge with`];
  if (come.length === 0) return [`taken whole: ${runs(gone)}${where}`];
  if (pagesCome < pagesGone)
    return [`split: ${runs(gone)}${where} was cut; ${runs(come)} stay free`];
  return [`merge: with free neighbors (${runs(gone)})${where} into ${runs(come)}`];
}

function pagesOf(orders: readonly number[]): number {
  return orders.reduce((sum, order) => sum + 2 ** order, 0);
}

/** `a run of 8 pages`, `runs of 1, 2 and 4 pages`. */
function runs(orders: readonly number[]): string {
  const counts = orders.toSorted((a, b) => a - b).map((order) => String(2 ** order));
  if (counts.length === 1) return `a run of ${counts[0]} ${counts[0] === '1' ? 'page' : 'pages'}`;
  return `runs of ${counts.slice(0, -1).join(', ')} and ${counts.at(-1)} pages`;
}

function slabChanges(before: Snapshot, after: Snapshot): string[] {
  const words: string[] = [];
  const gone = (before.cpus ?? []).filter(({ index }) =>
    after.cpus?.every((cpu) => cpu.index !== index),
  );
  const heirs = gone.length > 0;
  for (const { index, classes } of after.cpus ?? []) {
    const old = before.cpus?.find((cpu) => cpu.index === index)?.classes ?? [];
    classes.forEach((now, i) => words.push(...classWords(old[i], now, `CPU ${index}`, heirs)));
  }
  for (const { index } of gone) words.push(`CPU ${index} is gone: its slabs have another owner`);
  return words;
}

function classWords(
  old: SnapshotSlabClass | undefined,
  now: SnapshotSlabClass,
  who: string,
  inherits: boolean,
): string[] {
  if (old === undefined) return [];
  const words: string[] = [];
  const what = `${bytesText(now.objectSize)} objects`;
  const slabs = now.slabs - old.slabs;
  if (slabs > 0 && inherits) {
    words.push(`adopt: ${who} took over ${counted(slabs, 'slab')} of ${what}`);
  } else if (slabs > 0) {
    words.push(
      `refill: ${who} got ${counted(slabs, 'new slab')} for ${what} (${now.objects - old.objects} slots)`,
    );
  } else if (slabs < 0) {
    words.push(`${who} gave ${counted(-slabs, 'empty slab')} of ${what} back to the pages`);
  }
  const pending = now.pendingRemote - old.pendingRemote;
  if (pending > 0) {
    words.push(
      `remote free: ${counted(pending, 'object')} of ${who} (${what}) waits until ${who} drains`,
    );
  } else if (pending < 0) {
    words.push(
      `drain: ${who} took back ${counted(-pending, 'object')} of ${what} that other CPUs had freed`,
    );
  }
  if (slabs === 0) {
    const lists = (['partial', 'full', 'empty'] as const).map(
      (list) => [list, now[list] - old[list]] as const,
    );
    const from = lists.find(([, change]) => change < 0)?.[0];
    const to = lists.find(([, change]) => change > 0)?.[0];
    if (from !== undefined && to !== undefined)
      words.push(`a slab of ${what} of ${who} moved from the ${from} to the ${to} list`);
  }
  return words;
}

function counted(count: number, what: string): string {
  return count === 1 ? `1 ${what}` : `${count} ${what}s`;
}

function heapChanges(before: Snapshot, after: Snapshot): string[] {
  if (after.kind !== 'heap') return [];
  const words: string[] = [];
  const change = (key: string): number =>
    Number(after.stats[key] ?? 0) - Number(before.stats[key] ?? 0);
  after.heapClasses?.forEach((now, i) => {
    const slabs = now.slabs - (before.heapClasses?.[i]?.slabs ?? 0);
    if (slabs > 0)
      words.push(`refill: ${counted(slabs, 'new slab')} for ${bytesText(now.size)} blocks`);
    if (slabs < 0)
      words.push(
        `${counted(-slabs, 'empty slab')} of ${bytesText(now.size)} blocks went back to the pages`,
      );
  });
  const crossings = change('crossings');
  const cached = change('cached');
  if (crossings === 0 && change('allocs') + change('frees') > 0) {
    words.push('the magazine of this thread served it: no call into Rust');
  } else if (crossings > 0) {
    const stock =
      cached > 0
        ? `; ${bytesText(cached)} more in magazines`
        : cached < 0
          ? `; ${bytesText(-cached)} fewer in magazines`
          : '';
    words.push(`${counted(crossings, 'call')} into Rust${stock}`);
  }
  return words;
}

/** Rounding: what was granted beside what was asked for. Pages and ids are granted exactly. */
function grantChanges(before: Snapshot, after: Snapshot): string[] {
  const change = (key: string): number =>
    Number(after.stats[key] ?? 0) - Number(before.stats[key] ?? 0);
  const used = change('used');
  const requested = change('requested');
  if (after.stats['requested'] === undefined || used <= 0 || requested <= 0 || used === requested)
    return [];
  if (after.unit !== 'bytes' || after.kind === 'bitmap' || after.kind === 'buddy-pages') return [];
  const shape =
    after.kind === 'buddy' && Number.isInteger(Math.log2(used))
      ? `, a buddy of order ${Math.log2(used)}`
      : '';
  return [`granted ${bytesText(used)} for ${bytesText(requested)} asked for${shape}`];
}
