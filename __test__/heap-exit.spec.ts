/**
 * @file Every order of close, destroy, terminate, collection and exit, each in a process of its own.
 *
 * A child must end by itself with code 0: a signal, an abort or a hang is a failure.
 */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { atMost, runModule } from './support/child.ts';

const heap = `const { Heap, MiB } = api; const heap = new Heap({ size: MiB(64) }); const p = heap.alloc(100); const u8 = heap.u8; const pool = heap.pool(64); pool.alloc();`;
const gc = `const collect = async () => { for (let i = 0; i < 20; i += 1) { globalThis.gc(); await new Promise((r) => setTimeout(r, 5)); } };`;
const workerOf = (body: string): string =>
  `const { Worker } = await import('node:worker_threads');
   const run = (handle) => new Worker(${JSON.stringify(`
     const { workerData, parentPort } = require('node:worker_threads');
     const api = require(workerData.entry);
     const heap = api.Heap.attach(workerData.handle);
     const u8 = heap.u8; const own = [];
     for (let i = 0; i < 1000; i += 1) own.push(heap.alloc(16 + i));
     parentPort.postMessage('ready');
     ${body}
   `)}, { eval: true, execArgv: [], workerData: { handle, entry: new URL('dist/index.js', 'file://' + process.cwd() + '/').pathname } });
   const ready = (w) => new Promise((resolve, reject) => { w.once('message', resolve); w.once('error', reject); });
   const exited = (w) => new Promise((resolve) => w.once('exit', resolve));`;

const spin = 'for (;;) { heap.free(heap.alloc(64)); u8[own[0]] = 1; }';

const scenarios: Record<string, string> = {
  'exit without close': `${heap}`,
  'process.exit with the heap open': `${heap} process.exit(0);`,
  'close, then exit': `${heap} heap.close();`,
  'close, then process.exit at once': `${heap} heap.close(); process.exit(0);`,
  'destroy, then touch a view that was kept': `${heap} heap.destroy(); if (u8.length !== 0) throw 1; void u8[5];`,
  'close in an exit listener': `${heap} process.on('exit', () => { heap.close(); heap.close(); });`,
  'collect a heap that was dropped, and get its memory back': `
    ${gc} const { Heap, MiB } = api; const { readFileSync } = await import('node:fs');
    const rss = () => Number(/VmRSS:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
    const drop = () => { const heap = new Heap({ size: MiB(64) }); const p = heap.alloc(MiB(48)); heap.fill(p, 1); heap.pool(64).alloc(); heap.alloc(10); };
    drop(); await collect(); const first = rss();
    for (let i = 0; i < 20; i += 1) { drop(); await collect(); }
    const grown = rss() - first; if (grown > 64) throw new Error('grew by ' + grown + ' MiB');`,
  'collect after close, views kept': `${gc} ${heap} heap.close(); await collect(); void u8[3]; const other = new Heap({ size: MiB(8) }); other.alloc(5); await collect();`,
  'transfer the buffer away, use on, close, collect': `${gc} ${heap}
    if (u8.buffer.transfer) { const other = u8.buffer.transfer(); new Uint8Array(other)[p] = 7; if (heap.u8[p] !== 7) throw 1; }
    heap.free(p); heap.close(); await collect();`,
  'enqueue a view in a byte stream': `${gc} ${heap}
    const stream = new ReadableStream({ type: 'bytes', start(c) { c.enqueue(heap.view(p, 10)); c.close(); } });
    const { value } = await stream.getReader().read(); if (value.length !== 10) throw 1;
    heap.view(p, 10).fill(3); heap.free(p); if (heap.check() !== 1) throw 2; heap.close(); await collect(); void value[0];`,
  'post a view: copies, never shares': `${heap} const { port1, port2 } = new MessageChannel();
    port1.on('message', (m) => { if (m.length !== 4) throw 1; m[0] = 99; if (heap.u8[p] === 99) throw 2; port1.close(); });
    heap.u8[p] = 1; port2.postMessage(heap.view(p, 4));`,
  'terminate a worker in mid-flight, then close': `${workerOf(spin)} ${heap} const w = run(heap.handle); await ready(w); await w.terminate(); heap.free(p); heap.check(); heap.close();`,
  'close here while a worker goes on, then terminate it': `${workerOf(spin)} ${heap} const w = run(heap.handle); await ready(w); heap.close(); await new Promise((r) => setTimeout(r, 50)); await w.terminate();`,
  'destroy under a worker that touches memory': `${workerOf('try { ' + spin + ' } catch (e) { if (e.code !== "ERR_CLOSED") throw e; }')} ${heap} const w = run(heap.handle); await ready(w); const gone = exited(w); heap.destroy(); if (await gone !== 0) throw 1;`,
  'a worker ends by itself, its blocks stay': `${workerOf('')} ${heap} const w = run(heap.handle); const gone = exited(w); await ready(w); await gone; if (heap.stats().blocks !== 1002) throw new Error(String(heap.stats().blocks)); let n = 0; heap.walk((q) => { heap.free(q); n += 1; }); if (n !== 1002 || heap.check() !== 0) throw 2;`,
  'a worker calls process.exit': `${workerOf('process.exit(0);')} ${heap} const w = run(heap.handle); await exited(w); if (heap.check() < 2) throw 1; heap.close();`,
  'process.exit while workers are inside': `${workerOf(spin)} ${heap} const ws = [run(heap.handle), run(heap.handle)]; await Promise.all(ws.map(ready)); process.exit(0);`,
  'the creator is a worker that ends, the main thread goes on': `
    const { Worker } = await import('node:worker_threads');
    const w = new Worker(${JSON.stringify(`
      const { workerData, parentPort } = require('node:worker_threads');
      const { Heap } = require(workerData);
      const heap = new Heap({ size: 2 ** 22 }); const p = heap.alloc(64); heap.u8[p] = 42;
      parentPort.once('message', () => process.exit(0));
      parentPort.postMessage({ handle: heap.handle, p });
    `)}, { eval: true, execArgv: [], workerData: new URL('dist/index.js', 'file://' + process.cwd() + '/').pathname });
    const { handle, p } = await new Promise((r) => w.once('message', r));
    const heap = api.Heap.attach(handle); const gone = new Promise((r) => w.once('exit', r)); w.postMessage(0); await gone;
    if (heap.u8[p] !== 42) throw 1; heap.free(p); heap.free(heap.alloc(500)); if (heap.check() !== 0) throw 2; heap.close();
    try { api.Heap.attach(handle); throw 3; } catch (e) { if (e.code !== 'ERR_CLOSED') throw e; }`,
  'the addon stays mapped after the only worker that loaded it': `
    const { Worker } = await import('node:worker_threads'); const { readFileSync } = await import('node:fs');
    const w = new Worker(${JSON.stringify("const { Heap } = require(require('node:worker_threads').workerData); new Heap({ size: 2 ** 20 }).alloc(5);")}, { eval: true, execArgv: [], workerData: new URL('dist/index.js', 'file://' + process.cwd() + '/').pathname });
    await new Promise((r) => w.once('exit', r));
    if (!/heapwright.*\\.node/.test(readFileSync('/proc/self/maps', 'utf8'))) throw new Error('unmapped');`,
  'a getter that closes the heap in the middle of a call': `${heap}
    const codes = []; const attempt = (f) => { try { f(); } catch (e) { codes.push(e.code); } };
    attempt(() => heap.freeMany({ get length() { heap.close(); return 1; }, 0: p }));
    attempt(() => heap.alloc(16));
    if (codes.join() !== 'ERR_CLOSED,ERR_CLOSED') throw new Error(codes.join());`,
  'memory of a thousand heaps is returned': `
    const { Heap, MiB } = api; const { readFileSync, readdirSync } = await import('node:fs');
    const maps = () => readFileSync('/proc/self/maps', 'utf8').split('\\n').length;
    for (let i = 0; i < 20; i += 1) { const h = new Heap({ size: MiB(1) }); h.alloc(5); h.close(); }
    await new Promise((r) => setTimeout(r, 50)); const before = [maps(), readdirSync('/proc/self/fd').length];
    for (let i = 0; i < 1000; i += 1) { const h = new Heap({ size: MiB(1) }); h.free(h.alloc(64)); h.close(); if (i % 50 === 0) await new Promise((r) => setTimeout(r, 1)); }
    globalThis.gc(); await new Promise((r) => setTimeout(r, 100)); globalThis.gc(); await new Promise((r) => setTimeout(r, 100));
    const after = [maps(), readdirSync('/proc/self/fd').length];
    if (after[0] > before[0] + 40 || after[1] > before[1] + 4) throw new Error(before + ' -> ' + after);`,
};

describe('a heap at the end', () => {
  it('never takes the process with it', async () => {
    const endings = await atMost(2, Object.entries(scenarios), async ([name, source]) => ({
      name,
      ending: await runModule(source, { flags: ['--expose-gc'], timeoutMs: 30_000 }),
    }));
    for (const { name, ending } of endings) {
      expect({ name, ...ending, stdout: '' }).toEqual({
        name,
        code: 0,
        signal: null,
        stdout: '',
        stderr: '',
      });
    }
  }, 180_000);

  it.runIf(existsSync('/usr/bin/prlimit'))(
    'lists its blocks, or says that there is no memory for the list',
    async () => {
      // As much address space as is taken, and some: for no list, half of one, the list but not its array.
      for (const room of [4, 24, 60].map((MiB) => MiB * 2 ** 20)) {
        const source = `
          const { Heap, MiB } = api; const { execFileSync } = await import('node:child_process');
          const { readFileSync } = await import('node:fs');
          const heap = new Heap({ size: MiB(512) }); const pool = heap.pool(16);
          for (let i = 0; i < 2e6; i += 1) pool.alloc();
          const taken = Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
          execFileSync('/usr/bin/prlimit', ['--pid', String(process.pid), '--as=' + (taken + ${room})]);
          let blocks = 0;
          try { heap.walk(() => (blocks += 1)); } catch (e) { if (e.code !== 'ERR_NO_MEMORY') throw e; blocks = 2e6; }
          if (blocks !== 2e6 || heap.check() !== 2e6) throw new Error(String(blocks));`;
        const ending = await runModule(source, { timeoutMs: 60_000 });
        expect(ending).toMatchObject({ code: 0, signal: null, stderr: '' });
      }
    },
    180_000,
  );

  it('is not joined by a handle without the memory that JavaScript made', async () => {
    const join = `const { workerData, parentPort } = require('node:worker_threads');
      try { require(workerData.entry).Heap.attach(workerData.handle); } catch (e) { parentPort.postMessage(e.code); }
      setInterval(() => {}, 1000);`;
    const source = `
      const { Heap, MiB } = api; const { Worker } = await import('node:worker_threads');
      const heap = new Heap({ size: MiB(1) }); const { id, generation, buffers } = heap.handle;
      const other = new Heap({ size: MiB(1) }).handle.buffers;
      const small = new SharedArrayBuffer(4096);
      const entry = new URL('dist/index.js', 'file://' + process.cwd() + '/').pathname;
      for (const more of [{}, { buffers: other }, { buffers: { ...buffers, metadata: small } }]) {
        const handle = { heapwright: 'heap', id, generation, ...more };
        const w = new Worker(${JSON.stringify(join)}, { eval: true, execArgv: [], workerData: { handle, entry } });
        const code = await new Promise((resolve, reject) => { w.once('message', resolve); w.once('error', reject); });
        if (code !== 'ERR_INVALID_PARAM') throw new Error(code);
        // Had it joined, its end would touch memory that nobody need keep for it.
        if (heap.stats().threads !== 1) throw new Error('joined');
        await w.terminate();
      }`;
    const ending = await runModule(source, { env: { HEAPWRIGHT_FORCE_NO_EXTERNAL: '1' } });
    expect(ending).toMatchObject({ code: 0, signal: null, stderr: '' });
  }, 60_000);

  it('works the same on buffers that JavaScript made', async () => {
    const source = `
      const { Heap, MiB, features } = api; if (features().backend !== 'shared') throw 1;
      const heap = new Heap({ size: MiB(4) }); const pool = heap.pool(48);
      const ps = Array.from({ length: 5000 }, (_, i) => (i % 2 ? pool.alloc() : heap.alloc(16 + (i % 500))));
      heap.u32[ps[7] / 4] = 5; if (heap.view(ps[7], 4)[0] !== 5) throw 2;
      ${workerOf('heap.free(own.pop()); parentPort.close();')}
      const w = run(heap.handle); await ready(w); await exited(w);
      if (heap.stats().blocks !== 5999) throw new Error(String(heap.stats().blocks));
      heap.freeMany(ps); if (heap.check() !== 999) throw 3;
      heap.close(); try { heap.alloc(5); throw 4; } catch (e) { if (e.code !== 'ERR_CLOSED') throw e; }
      try { pool.alloc(); throw 5; } catch (e) { if (e.code !== 'ERR_CLOSED') throw e; }`;
    const ending = await runModule(source, { env: { HEAPWRIGHT_FORCE_NO_EXTERNAL: '1' } });
    expect(ending).toMatchObject({ code: 0, signal: null, stderr: '' });
  }, 60_000);
});
