/**
 * @file Garbage collection, closing, worker ends and process exits of the families, in every order.
 *
 * Each case is a child process: it must end by itself with the code that it chose, no signal, nothing on
 * stderr. What a view shows after `close` is nothing; what it shows after its allocator was collected is
 * still its bytes, since every buffer holds the allocator's memory; what a stream took away before `close` may be
 * read on, and holds old bytes or zeros.
 */
import { describe, expect, it } from 'vitest';
import { runModule } from './support/child.ts';

const KINDS = ['buddy', 'tlsf', 'slab', 'bitmap'];

/** An allocator `a` of `kind` with a view `v` over a block of it. */
const opened = (kind: string): string => `
  const a = api.createAllocator({ kind: '${kind}', size: 2 ** 20, memory: true });
  const v = ${kind === 'bitmap' ? 'a.view(a.allocPages(1))' : 'a.view(a.alloc(4096))'};
  v.fill(7);
`;

const ENDINGS: readonly [name: string, source: string][] = [
  ['the end of the program', ''],
  ['close', 'a.close(); if (v.length !== 0) throw new Error("attached");'],
  ['close, twice', 'a.close(); a.close(); a[Symbol.dispose]();'],
  ['process.exit', 'process.exit(0);'],
  [
    'process.exit in an exit listener',
    'process.on("exit", () => { a.close(); process.exit(0); });',
  ],
  ['use in an exit listener', 'process.on("exit", () => { v[0] = 1; a.check(); });'],
  ['process.reallyExit', 'process.reallyExit(0);'],
  [
    'collection of the allocator',
    'globalThis.keep = v; let n = 0; const t = setInterval(() => { gc(); if (v[9] !== 7) throw new Error("lost"); if (++n > 5) clearInterval(t); }, 5);',
  ],
  ['collection of everything', 'setTimeout(() => gc(), 10);'],
  [
    'a transfer',
    'structuredClone(v.slice()); const s = new ReadableStream({ type: "bytes", start: (c) => c.enqueue(v) }); a.close(); gc();',
  ],
  [
    'a transfer that outlives close',
    'const s = new ReadableStream({ type: "bytes", start: (c) => c.enqueue(v) }); a.close(); const r = await s.getReader().read(); if (r.value.length !== 4096 || r.value.some((byte) => byte !== 7 && byte !== 0)) throw new Error("foreign bytes");',
  ],
];

describe.each(KINDS)('kind %s', (kind) => {
  it.each(ENDINGS)('survives %s', async (_, ending) => {
    const result = await runModule(opened(kind) + ending, { flags: ['--expose-gc'] });
    expect(result).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
  });
});

/** Runs `body` in workers: it has `api`, and ends as it says. */
const inWorkers = (count: number, body: string, after: string): string => `
  import { Worker } from 'node:worker_threads';
  const code = \`import(\${JSON.stringify(import.meta.resolve('heapwright'))}).then((api) => { ${body} })\`;
  const ends = [];
  for (let n = 0; n < ${count}; n += 1) {
    const worker = new Worker(code, { eval: true });
    ends.push(new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject)));
    ${after}
  }
  await Promise.all(ends);
  api.createAllocator({ size: 2 ** 20 }).alloc(8);
`;

describe('workers', () => {
  const use =
    "const a = api.createAllocator({ kind: 'tlsf', size: 2 ** 20 }); globalThis.v = a.view(a.alloc(100)); v.fill(1);";
  it.each([
    ['ends by itself', use, ''],
    ['calls process.exit', `${use} process.exit(0);`, ''],
    [
      'is terminated at work',
      `${use} for (;;) { const p = a.alloc(64); a.dealloc(p); }`,
      'setTimeout(() => worker.terminate(), 20 + n * 7);',
    ],
    ['is terminated at once', use, 'worker.terminate();'],
    ['throws', `${use} setTimeout(() => { throw new Error("mine"); });`, ''],
  ])('a worker that %s takes nothing with it', async (name, body, after) => {
    const { code, signal, stderr } = await runModule(
      inWorkers(6, body, after).replace(
        name === 'throws' ? ".once('error', reject)" : '',
        name === 'throws' ? ".once('error', () => resolve(1))" : '',
      ),
    );
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  });

  it('gives the mappings of allocators back when they are collected', async () => {
    const source = `
      import { readFileSync } from 'node:fs';
      const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('\\n').length;
      const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
      const make = (n) => {
        const a = api.createAllocator({ kind: ['buddy', 'tlsf', 'slab'][n % 3], size: 2 ** 20 });
        a.view(a.alloc(4096)).fill(1);
        if (n % 2 === 0) a.close();
      };
      for (let n = 0; n < 20; n += 1) make(n);
      gc(); await turn(); gc(); await turn();
      const before = [mappings(), process.memoryUsage().external];
      for (let n = 0; n < 300; n += 1) { make(n); if (n % 20 === 0) { gc(); await turn(); } }
      for (let n = 0; n < 5; n += 1) { gc(); await turn(); }
      console.log(JSON.stringify([mappings() - before[0], process.memoryUsage().external - before[1]]));
    `;
    const { stdout, stderr } = await runModule(source, {
      flags: ['--expose-gc'],
      timeoutMs: 60_000,
    });
    expect(stderr).toBe('');
    const [mappings, external] = JSON.parse(stdout) as [number, number];
    expect(mappings).toBeLessThan(40);
    expect(external).toBeLessThan(8 * 2 ** 20);
  });
});

describe('a runtime without external buffers', () => {
  it('is served by memory of its own', async () => {
    const source = `
      if (api.features().backend !== 'shared') throw new Error(api.features().backend);
      for (const kind of ${JSON.stringify(KINDS)}) {
        const a = api.createAllocator({ kind, size: 2 ** 20, memory: true });
        a.addMemory(2 ** 22, 2 ** 15);
        const p = kind === 'bitmap' ? a.allocPages(1) : a.allocZeroed(4096);
        const v = a.view(p);
        if (!(v.buffer instanceof SharedArrayBuffer) || v.length !== 4096) throw new Error(kind);
        v.fill(9);
        if (a.view(p)[100] !== 9 || a.check() !== 1) throw new Error(kind);
        if (kind !== 'bitmap') {
          const q = a.realloc(p, 100_000);
          if (a.view(q)[4095] !== 9) throw new Error(kind);
          a.dealloc(q);
          if (a.allocZeroed(5000) && a.view(a.allocZeroed(5000)).some((byte) => byte !== 0)) throw new Error(kind);
        }
        a.close();
      }
    `;
    const result = await runModule(source, { env: { HEAPWRIGHT_FORCE_NO_EXTERNAL: '1' } });
    expect(result).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
  });
});
