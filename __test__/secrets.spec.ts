/**
 * @file Acceptance test A21 for the families: no old byte, no real address.
 *
 * `allocZeroed` is zero whatever lay there; grown memory is zero; and no 8-byte word of anything that a
 * view reaches is an address at which this process has something mapped.
 */
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { KiB, MiB } from '../index.ts';
import { BYTE_KINDS, bytesOf } from './support/kinds.ts';
import { Random, rounds, seedOf } from './support/random.ts';
import { thrownBy } from './support/refusal.ts';

/** The mapped ranges of this process, ascending. */
function mapped(): { readonly start: bigint; readonly end: bigint }[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [start, end] = (line.split(' ', 1)[0] as string).split('-') as [string, string];
      return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
    });
}

/** The first word of `bytes`, at any offset, that is an address of this process. */
function leakedAddress(bytes: Uint8Array, ranges = mapped()): bigint | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset + 8 <= bytes.length; offset += 1) {
    if (bytes[offset + 5] === 0) continue;
    const word = view.getBigUint64(offset, true);
    if (ranges.some(({ start, end }) => word >= start && word < end)) return word;
  }
  return undefined;
}

describe.each(BYTE_KINDS)('kind %s', (kind) => {
  it('never shows an old byte in allocZeroed', () => {
    const random = new Random(seedOf(`secrets ${kind}`, 0xa21));
    const allocator = bytesOf(kind);
    const live: number[] = [];
    for (let round = 0; round < rounds(2000, 10_000); round += 1) {
      const size = random.size(KiB(8));
      try {
        const pos = allocator.allocZeroed(size);
        const view = allocator.view(pos);
        expect(view.findIndex((byte) => byte !== 0)).toBe(-1);
        view.fill(0xd1);
        live.push(pos);
      } catch (error) {
        expect((error as { code: string }).code).toBe('ERR_NO_MEMORY');
      }
      if (live.length > 100 || random.chance(1, 3)) {
        const index = random.below(live.length);
        if (live[index] !== undefined) allocator.dealloc(live.splice(index, 1)[0] as number);
      }
    }
  });

  it('grows into memory that was never used', () => {
    const allocator = bytesOf(kind);
    const pos = allocator.alloc(100_000);
    expect(allocator.view(pos).every((byte) => byte === 0)).toBe(true);
    const moved = allocator.realloc(pos, 300_000);
    expect(allocator.view(moved).every((byte) => byte === 0)).toBe(true);
  });

  it('has no address of the process in anything that a program can see', () => {
    const allocator = bytesOf(kind, MiB(1));
    const random = new Random(seedOf(`addresses ${kind}`, 0xadd));
    const live: number[] = [];
    for (let round = 0; round < 2000; round += 1) {
      if (live.length < 200 && random.chance(3, 5)) live.push(allocator.alloc(random.size(2048)));
      else if (live.length > 0)
        allocator.dealloc(live.splice(random.below(live.length), 1)[0] as number);
    }
    const all = new Uint8Array(allocator.view(allocator.alloc(8)).buffer);
    expect(leakedAddress(all)).toBeUndefined();
    const numbers = new Float64Array(live);
    for (const pos of numbers) expect(pos >= MiB(1) && pos < MiB(2)).toBe(true);
    const texts = [
      inspect(allocator, { showHidden: true, depth: 9 }),
      JSON.stringify(allocator.stats()),
      String((thrownBy(() => allocator.alloc(MiB(4))) as Error).message),
      String((thrownBy(() => allocator.dealloc(3)) as Error).message),
    ].join('\n');
    const ranges = mapped();
    for (const [word] of texts.matchAll(/\b(?:0x[0-9a-f]+|\d{6,})\b/gu)) {
      const value = BigInt(word);
      expect(
        value > 2n ** 32n && ranges.some(({ start, end }) => value >= start && value < end),
      ).toBe(false);
    }
  });
});

it('finds an address where there is one', () => {
  const { start } = mapped().find((range) => range.start > 2n ** 40n) as { start: bigint };
  const bytes = new Uint8Array(24);
  new DataView(bytes.buffer).setBigUint64(3, start + 8n, true);
  expect(leakedAddress(bytes)).toBe(start + 8n);
});
