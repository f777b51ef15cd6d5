/**
 * @file Text in the manner of `/proc/pagetypeinfo`: free runs per order, section by section.
 *
 * The kernel's file lists, per node, zone and migrate type, how many free runs of each order there are,
 * then how many blocks of pages each type has. Here a node is the allocator, a zone a section, and the
 * only type is `Movable` (nothing is pinned, nothing reserved). Column widths are the kernel's, so that
 * readers of the original read this too.
 */
import { failure } from '../errors.ts';
import type { Snapshot } from './snapshot.ts';

/** Orders that the kernel shows at least: 0 to 10. */
const ORDERS_MIN = 11;
/** Pages of a pageblock, as x86-64 has them: 2 MiB of 4 KiB pages. */
const PAGEBLOCK_ORDER = 9;

/**
 * The snapshot of a page kind as pagetypeinfo.
 *
 * @throws {@link AllocError} `ERR_INVALID_PARAM` for a snapshot without sections.
 */
export function toPagetypeinfo(snapshot: Snapshot): string {
  const { sections, kind } = snapshot;
  if (sections === undefined || sections.length === 0) {
    throw failure('ERR_INVALID_PARAM', `a snapshot of kind '${kind}' has no sections of pages`);
  }
  const orders = Math.max(ORDERS_MIN, ...sections.map(({ freeRuns }) => freeRuns.length));
  const heads = Array.from({ length: orders }, (_, order) => String(order).padStart(6)).join(' ');
  const lines = [
    `Page block order: ${PAGEBLOCK_ORDER}`,
    `Pages per block:  ${2 ** PAGEBLOCK_ORDER}`,
    '',
    `Free pages count per migrate type at order ${heads} `,
  ];
  sections.forEach(({ freeRuns }, index) => {
    const counts = Array.from({ length: orders }, (_, order) =>
      String(freeRuns[order] ?? 0).padStart(6),
    );
    lines.push(
      `Node ${String(index).padStart(4)}, zone ${'Normal'.padStart(8)}, type ${'Movable'.padStart(12)} ${counts.join(' ')} `,
    );
  });
  lines.push('', `Number of blocks type ${'Movable'.padStart(12)} `);
  sections.forEach(({ totalPages }, index) => {
    const blocks = Math.ceil(totalPages / 2 ** PAGEBLOCK_ORDER);
    lines.push(
      `Node ${String(index).padStart(4)}, zone ${'Normal'.padStart(8)} ${String(blocks).padStart(12)} `,
    );
  });
  return `${lines.join('\n')}\n`;
}
