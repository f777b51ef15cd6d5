/**
 * @file What an allocator costs before it is used, each in a process of its own (RSS is the process's).
 */
import { describe, expect, it } from 'vitest';
import { runModule } from './support/child.ts';

/** Runs `source`, which prints a JSON array of numbers. */
async function numbersOf(source: string): Promise<number[]> {
  const { code, signal, stdout, stderr } = await runModule(source, { flags: ['--expose-gc'] });
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  return JSON.parse(stdout) as number[];
}

const MIB = 1024 * 1024;

/** Grown RSS in bytes, and seconds, of making an allocator and what is done to it. */
const measure = (make: string, use: string): string => `
  api.createAllocator({ kind: 'tlsf', size: 4096 * 16 }).close();
  gc();
  const before = process.memoryUsage.rss();
  // Time of the processor, not of the clock: others may be using the machine.
  const started = process.cpuUsage();
  const a = ${make};
  const { user, system } = process.cpuUsage(started);
  const seconds = (user + system) / 1e6;
  ${use}
  console.log(JSON.stringify([process.memoryUsage.rss() - before, seconds]));
`;

describe('footprint', () => {
  it('of 1 TiB of simulated pages is below 96 MiB and 0.2 s', async () => {
    const source = measure(
      "api.createAllocator({ kind: 'bitmap', size: 2 ** 40 })",
      'a.allocPages(512); a.allocPages(1, 2 ** 21); a.deallocPages(a.allocPages(100000)); a.stats();',
    );
    const [grown, seconds] = (await numbersOf(source)) as [number, number];
    console.log(`1 TiB of pages: ${(grown / MIB).toFixed(1)} MiB, ${seconds.toFixed(3)} s`);
    expect(grown).toBeLessThan(96 * MIB);
    expect(seconds).toBeLessThan(0.2);
  });

  it.each([
    ['buddy', 16 * 1024],
    ['tlsf', 16 * 1024],
    // The crate's slab cannot manage more than 4 GiB.
    ['slab', 4 * 1024],
  ])('of %s with %i MiB of memory is below 8 MiB until it is touched', async (kind, mib) => {
    const source = measure(
      `api.createAllocator({ kind: '${kind}', size: ${mib} * 2 ** 20 })`,
      'a.view(a.alloc(64)).fill(1); a.stats();',
    );
    const [grown, seconds] = (await numbersOf(source)) as [number, number];
    console.log(`${kind}, ${mib} MiB: ${(grown / MIB).toFixed(1)} MiB, ${seconds.toFixed(3)} s`);
    expect(grown).toBeLessThan(8 * MIB);
  });

  it.each(['0', '1'])(
    'of a populated heap is its size at once, also in memory of the runtime (%s)',
    async (forced) => {
      const { code, stdout, stderr } = await runModule(
        `const before = process.memoryUsage.rss();
         const heap = new api.Heap({ size: 64 * 2 ** 20, populate: true });
         console.log(JSON.stringify([process.memoryUsage.rss() - before, heap.stats().committed]));
         heap.close();`,
        { env: { HEAPWRIGHT_FORCE_NO_EXTERNAL: forced } },
      );
      expect([code, stderr]).toEqual([0, '']);
      const [grown, committed] = JSON.parse(stdout) as [number, number];
      expect(grown).toBeGreaterThan(60 * MIB);
      expect(committed).toBe(64 * MIB);
    },
  );

  // Far more than memory: what looks at all of it does not end in a test's time, or shows in RSS.
  it.each(['buddy', 'tlsf'])('of %s with 1 TiB is what its blocks have touched', async (kind) => {
    const source = measure(
      `api.createAllocator({ kind: '${kind}', size: 2 ** 40, memory: false })`,
      `const pos = a.alloc(1);
       let walked = 0;
       a.walk((start) => { walked += Number(start === pos); });
       const counts = [a.check(), walked, api.snapshot(a).maps.length, a.stats().blocks];
       if (String(counts) !== '1,1,1,1') throw new Error(String(counts));
       a.close();`,
    );
    const [grown] = (await numbersOf(source)) as [number, number];
    expect(grown).toBeLessThan(8 * MIB);
  });
});
