/**
 * @file The engine behind `debug: true`: red zones, poison, quarantine, allocation stacks.
 *
 * ```text
 * engine block  | header 32 | red zone … | the program's bytes | red zone … |
 *               base                     p                     p + size     base + usable
 * ```
 *
 * Each block has a header in the data itself, so that any thread can judge it: a magic number bound to
 * its place, a state that is changed by compare-exchange (exactly one of two frees wins), its size. A
 * freed block is poisoned and kept back until the quarantine is full; what was written into it meanwhile
 * is found when it leaves, by `check()`, or at `close()`. Stacks stay in JavaScript, with the thread
 * that allocated.
 *
 * A block of the engine is one of ours from the moment its header is complete: until then, and once it has
 * left, its first word is 0. A thread may be terminated in between, so such a block says nothing.
 *
 * Invariants:
 * 1. A block whose header does not prove it is never freed, viewed or counted.
 * 2. Damage is reported as `ERR_CORRUPTED`, naming the block; the block stays where it is.
 *
 * Not here: the engine that the blocks come from (`heap-core.ts`).
 */
import { fileURLToPath } from 'node:url';
import type { RangeBuffers } from './buffers.ts';
import { channels } from './channels.ts';
import { failure, hex } from './errors.ts';
import type { AllocError } from './errors.ts';
import { judgeRequest, mismatch, notLive } from './heap-core.ts';
import type { Block, HeapCore } from './heap-core.ts';
import type { HeapEngine, HeapStats, Leak } from './heap-engine.ts';
import type { HeapDebugOptions } from './heap-options.ts';
import type { HeapPath, PoolPath } from './magazine.ts';
import { arrayOf, isNumber, natural } from './options.ts';

/** Bytes of a header: four words, then size and front as doubles. */
const HEADER = 32;
const MAGIC = 0x68_77_64_62;
const LIVE = 1;
const FREED = 2;
/** No longer live, and not poisoned yet; or its header is being written. */
const PASSING = 3;

/** What red zones, fresh and freed bytes are filled with. */
const ZONE = 0xfd;
const FRESH = 0xcd;
const DEAD = 0xdd;

/** What stack lines of this package contain, as a module is named by a loader or by a test runner. */
const OWN_URL = new URL('.', import.meta.url).href;
const OWN_PATH = fileURLToPath(OWN_URL);

/** From this size on a heap may be more than one array of words. */
const BIG = 2 ** 33;

/** How many freed blocks are remembered for the message about their second free. */
const HISTORY = 4096;

/** A block that a header proves. */
interface Found {
  readonly base: number;
  readonly p: number;
  readonly size: number;
  readonly usable: number;
  readonly state: number;
  readonly serial: number;
  /** The header's words, for the change of state. */
  readonly words: Int32Array;
}

/** What this thread remembers of a block that it allocated. */
interface Birth {
  readonly serial: number;
  readonly size: number;
  readonly stack: string;
}

/** What this thread remembers of a block that it freed. */
interface Death {
  readonly born: string;
  readonly died: string;
}

/** A debug heap, on one thread. */
export class DebugEngine implements HeapEngine {
  readonly #core: HeapCore;
  readonly #buffers: RangeBuffers;
  readonly #name: string;
  readonly #options: Required<HeapDebugOptions>;
  readonly #births = new Map<number, Birth>();
  readonly #deaths = new Map<number, Death>();
  /** Freed blocks in order, oldest first. */
  readonly #quarantine: Found[] = [];
  #quarantined = 0;
  /** Failures of the engine on this thread after which the quarantine made room. */
  #unseen = 0;
  /** Blocks of batches of this thread that were given back, since not all of them could be had. */
  #undone = 0;
  /** Threads begin apart, so that a block is not taken for the one that was there before. */
  #serial = Math.trunc(Math.random() * 2 ** 31);
  readonly path: HeapPath;

  constructor(
    core: HeapCore,
    buffers: RangeBuffers,
    name: string,
    options: Required<HeapDebugOptions>,
  ) {
    this.#core = core;
    this.#buffers = buffers;
    this.#name = name;
    this.#options = options;
    this.path = {
      alloc: (size, align) => this.#alloc(...judgeRequest(size, align)),
      free: (p) => this.#free(p),
    };
  }

  get open(): boolean {
    return this.#core.open;
  }

  assertOpen(): void {
    this.#core.assertOpen();
  }

  // ---------------------------------------------------------------- alloc and free

  #alloc(size: number, align: number): number {
    this.assertOpen();
    const front = this.#frontOf(align);
    const overhead = front + this.#options.redZone;
    const base = this.#reserve(size + overhead, align, size, overhead);
    const { usable } = this.#core.lookup(base);
    const p = base + front;
    const bytes = this.#buffers.view(base, usable);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, 4);
    Atomics.store(words, 0, 0);
    Atomics.store(words, 1, PASSING);
    bytes.fill(ZONE, HEADER, front);
    bytes.fill(FRESH, front, front + size);
    bytes.fill(ZONE, front + size);
    this.#serial = (this.#serial + 1) & 0x7f_ff_ff_ff;
    const doubles = new Float64Array(bytes.buffer, bytes.byteOffset + 16, 2);
    doubles[0] = size;
    doubles[1] = front;
    words[2] = this.#serial;
    words[3] = 0;
    Atomics.store(words, 0, magicOf(base));
    Atomics.store(words, 1, LIVE);
    this.#births.set(p, { serial: this.#serial, size, stack: this.#stack() });
    this.#deaths.delete(p);
    return p;
  }

  /** Bytes before a block: its header and its red zone, a multiple of the alignment. */
  #frontOf(align: number): number {
    return Math.ceil((HEADER + this.#options.redZone) / align) * align;
  }

  /** A block of the engine; where there is none, the quarantine makes room. */
  #reserve(bytes: number, align: number, requested: number, overhead: number): number {
    // What is more than the heap has is asked for as just that: it may be no size at all.
    const asked = Math.min(bytes, this.#core.size);
    const whole = this.#buffers.whole();
    const words = (whole?.byteLength ?? BIG) < BIG ? new Int32Array(whole!) : undefined;
    for (;;) {
      try {
        const base = this.#core.path.alloc(asked, align > 16 ? align : undefined);
        // At once: a thread may be terminated at the next call, and leave whatever stood here before.
        if (words !== undefined) words[base / 4] = 0;
        return base;
      } catch (error) {
        const { code, largestFree } = error as AllocError;
        if (code !== 'ERR_NO_MEMORY') throw error;
        // Counted by the engine, and not thrown: there is something to evict, or what is evicted is damaged.
        this.#unseen += 1;
        if (!this.#evict()) {
          this.#unseen -= 1;
          const rest = Math.max(0, (largestFree ?? 0) - overhead);
          throw failure(
            code,
            `no free block of ${requested} bytes and its red zones: the largest is of ${rest} bytes`,
            { requested, largestFree: rest },
          );
        }
      }
    }
  }

  #free(p: unknown): void {
    isNumber(p, 'p');
    const block = natural(p, 'p');
    this.assertOpen();
    const found = this.#find(block);
    if (found === undefined || found.p !== block) throw this.#deadOrForeign(block);
    if (found.state !== LIVE) throw this.#doubleFree(block);
    this.#inspectZones(found);
    this.#makeRoom(found.usable);
    if (Atomics.compareExchange(found.words, 1, LIVE, PASSING) !== LIVE)
      throw this.#doubleFree(block);
    this.#buffers.view(block, found.size).fill(DEAD);
    Atomics.store(found.words, 1, FREED);
    const birth = this.#births.get(block);
    const born = birth?.serial === found.serial ? birth.stack : '    at another thread';
    if (birth?.serial === found.serial) this.#births.delete(block);
    this.#remember(block, { born, died: this.#stack() });
    if (found.usable > this.#options.quarantineBytes) {
      this.#release(found);
    } else {
      this.#quarantine.push(found);
      this.#quarantined += found.usable;
    }
  }

  /** Room in the quarantine first: whatever is found there is reported before a block has changed. */
  #makeRoom(usable: number): void {
    while (
      this.#quarantined + usable > this.#options.quarantineBytes &&
      this.#quarantine.length > 0
    ) {
      this.#evict();
    }
  }

  #remember(p: number, death: Death): void {
    this.#deaths.delete(p);
    this.#deaths.set(p, death);
    if (this.#deaths.size > HISTORY) {
      const [oldest] = this.#deaths.keys();
      this.#deaths.delete(oldest as number);
    }
  }

  /** Lets the oldest block of the quarantine go; false where there is none. */
  #evict(): boolean {
    const oldest = this.#quarantine.shift();
    if (oldest === undefined) return false;
    this.#quarantined -= oldest.usable;
    const damage = this.#damageOf(oldest);
    if (damage !== undefined) throw damage;
    this.#release(oldest);
    return true;
  }

  #release(found: Found): void {
    Atomics.store(found.words, 1, PASSING);
    Atomics.store(found.words, 0, 0);
    this.#core.path.free(found.base);
  }

  // ---------------------------------------------------------------- judging

  /** The block that holds `address`, if a header proves it. */
  #find(address: number): Found | undefined {
    const block = this.#blockAround(address);
    if (block === undefined) return undefined;
    const found = this.#read(block);
    if (found === undefined) throw this.#overwritten(block.start);
    return found;
  }

  /** The engine's block that holds `address`, if it has room for a header. */
  #blockAround(address: number): Block | undefined {
    try {
      const block = this.#core.lookup(address);
      return block.usable < HEADER ? undefined : block;
    } catch {
      return undefined;
    }
  }

  #overwritten(base: number): AllocError {
    return this.#corrupted(base + HEADER + this.#options.redZone, 'its header is overwritten');
  }

  /** What the header of an engine's block says; `undefined` where it proves nothing. */
  #read({ start: base, usable }: Block): Found | undefined {
    const view = this.#buffers.view(base, HEADER);
    const words = new Int32Array(view.buffer, view.byteOffset, 4);
    const [size, front] = new Float64Array(view.buffer, view.byteOffset + 16, 2) as unknown as [
      number,
      number,
    ];
    const state = Atomics.load(words, 1);
    const proven =
      words[0] === magicOf(base) &&
      (state === LIVE || state === FREED || state === PASSING) &&
      Number.isSafeInteger(size) &&
      Number.isSafeInteger(front) &&
      size > 0 &&
      front >= HEADER &&
      front + size <= usable;
    if (!proven) return undefined;
    return { base, p: base + front, size, usable, state, serial: words[2] as number, words };
  }

  /** Throws if a live block was written past, in front or behind. */
  #inspectZones(found: Found): void {
    const damage = this.#zoneDamage(found);
    if (damage !== undefined) throw damage;
  }

  #zoneDamage({ base, p, size, usable }: Found): AllocError | undefined {
    const bytes = this.#buffers.view(base, usable);
    const front = p - base;
    const before = firstOther(bytes, HEADER, front, ZONE);
    if (before !== -1) {
      return this.#corrupted(
        p,
        `byte -${front - before} was written, before its start: an underflow`,
      );
    }
    const behind = firstOther(bytes, front + size, usable, ZONE);
    if (behind === -1) return undefined;
    return this.#corrupted(
      p,
      `byte ${behind - front} was written, past its ${size} bytes: an overflow`,
    );
  }

  /** What was done to a block that was freed. */
  #damageOf(found: Found): AllocError | undefined {
    const zones = this.#zoneDamage(found);
    if (zones !== undefined) return zones;
    const at = firstOther(this.#buffers.view(found.p, found.size), 0, found.size, DEAD);
    return at === -1
      ? undefined
      : this.#corrupted(found.p, `byte ${at} was written after it was freed`);
  }

  #corrupted(p: number, what: string): AllocError {
    const birth = this.#births.get(p);
    const death = this.#deaths.get(p);
    const stacks =
      (birth === undefined ? '' : `\n  allocated\n${birth.stack}`) +
      (death === undefined ? '' : `\n  allocated\n${death.born}\n  freed\n${death.died}`);
    return failure('ERR_CORRUPTED', `block ${hex(p)}: ${what}${stacks}`);
  }

  #deadOrForeign(p: number): Error {
    return this.#deaths.has(p) ? this.#doubleFree(p) : notLive(p);
  }

  /** `ERR_NOT_ALLOCATED` with three stacks: allocated, freed, and the error's own. */
  #doubleFree(p: number): Error {
    const death = this.#deaths.get(p);
    if (death === undefined) return notLive(p);
    return failure(
      'ERR_NOT_ALLOCATED',
      `block ${hex(p)} is not live: it was freed before\n  allocated\n${death.born}\n  freed\n${death.died}\n  freed again`,
    );
  }

  /** The stack of the program, without the frames of this package. */
  #stack(): string {
    if (!this.#options.stacks) return '    (stacks are off)';
    const lines = (new Error().stack ?? '').split('\n').slice(1);
    return lines.filter((line) => !line.includes(OWN_URL) && !line.includes(OWN_PATH)).join('\n');
  }

  // ---------------------------------------------------------------- the rest of an engine

  isLive(p: unknown): boolean {
    isNumber(p, 'p');
    this.assertOpen();
    if (!Number.isSafeInteger(p) || p < 0) return false;
    const found = this.#find(p);
    return found !== undefined && found.p === p && found.state === LIVE;
  }

  usableSize(p: unknown): number {
    isNumber(p, 'p');
    const block = natural(p, 'p');
    this.assertOpen();
    const found = this.#find(block);
    if (found === undefined || found.p !== block || found.state !== LIVE) throw notLive(block);
    return found.size;
  }

  lookup(p: number): Block {
    const found = this.#find(p);
    const inside = found !== undefined && p >= found.p && p < found.p + found.size;
    if (!inside || found.state !== LIVE) throw notLive(p);
    return { start: found.p, usable: found.size };
  }

  allocZeroed(size: number, align: number): number {
    const p = this.#alloc(size, align);
    this.#buffers.view(p, size).fill(0);
    return p;
  }

  realloc(p: number, newSize: number): number {
    const { start, usable } = this.lookup(p);
    if (start !== p) throw notLive(p);
    // What would stop the free is found before there is a second block.
    const found = this.#find(p) as Found;
    this.#inspectZones(found);
    this.#makeRoom(found.usable);
    const moved = this.#alloc(newSize, 16);
    const kept = Math.min(usable, newSize);
    this.#buffers.view(moved, kept).set(this.#buffers.view(p, kept));
    this.#free(p);
    return moved;
  }

  allocMany(size: number, count: number): Float64Array {
    const overhead = this.#frontOf(16) + this.#options.redZone;
    const out = (size + overhead) * count > this.#core.size ? undefined : arrayOf(count);
    if (out === undefined) {
      this.#reserve(this.#core.size, 16, size * count, overhead);
      throw failure('ERR_INTERNAL', 'a heap had all of its size free');
    }
    for (let i = 0; i < count; i += 1) {
      try {
        out[i] = this.#alloc(size, 16);
      } catch (error) {
        this.#undone += i;
        while (i > 0) this.#free(out[(i -= 1)] as number);
        const { code, message, largestFree } = error as AllocError;
        if (code !== 'ERR_NO_MEMORY') throw error;
        const details = { requested: size * count, largestFree: largestFree as number };
        throw failure(code, `no room for ${count} blocks: ${message}`, details);
      }
    }
    return out;
  }

  freeMany(positions: Float64Array): void {
    const seen = new Set<number>();
    let usable = 0;
    for (const p of positions) {
      const found = this.#find(p);
      if (found === undefined || found.p !== p) throw this.#deadOrForeign(p);
      if (found.state !== LIVE) throw this.#doubleFree(p);
      if (seen.has(p)) {
        throw failure('ERR_NOT_ALLOCATED', `block ${hex(p)} occurs twice in the batch`);
      }
      this.#inspectZones(found);
      seen.add(p);
      usable += found.usable;
    }
    this.#makeRoom(usable);
    for (const p of positions) this.#free(p);
  }

  pool(size: number, align: number): PoolPath {
    return {
      alloc: () => this.#alloc(size, align),
      free: (p) => {
        const usable = this.usableSize(p);
        if (this.#core.usableOf(usable, align) !== this.#core.usableOf(size, align)) {
          throw mismatch(p, usable, size);
        }
        this.#free(p);
      },
    };
  }

  stats(name: string): HeapStats {
    const below = this.#core.stats(name);
    let blocks = 0;
    let used = 0;
    this.walk((_p, size) => {
      blocks += 1;
      used += size;
    });
    // What waits in quarantine is neither live nor free to others.
    const allocs = below.allocs - this.#undone;
    const frees = allocs - blocks;
    const failures = below.failures - this.#unseen;
    const largestFree = Math.max(0, below.largestFree - this.#frontOf(16) - this.#options.redZone);
    return { ...below, blocks, used, allocs, frees, failures, largestFree };
  }

  check(): number {
    this.#core.check();
    let blocks = 0;
    this.#each((found) => {
      const damage = found.state === LIVE ? this.#zoneDamage(found) : this.#damageOf(found);
      if (damage !== undefined && this.#isStill(found)) throw damage;
      if (found.state === LIVE) blocks += 1;
    });
    return blocks;
  }

  /** Whether a block is what it was when it was found: no other thread has freed it, or let it go, since. */
  #isStill({ base, usable, words, state, serial, p, size }: Found): boolean {
    const now = words[0] === magicOf(base) ? this.#read({ start: base, usable }) : undefined;
    return now?.state === state && now.serial === serial && now.p === p && now.size === size;
  }

  /** Lets the quarantine go too, so that what is free is free. */
  trim(): number {
    while (this.#evict());
    return this.#core.trim();
  }

  walk(visit: (p: number, usable: number) => void): void {
    this.#each(({ p, size, state }) => {
      if (state === LIVE) visit(p, size);
    });
  }

  /** Every block of ours that no thread is just making, freeing or letting go. */
  #each(visit: (found: Found) => void): void {
    let alone: boolean | undefined;
    this.#core.walk((base) => {
      const block = this.#blockAround(base);
      if (block === undefined || block.start !== base) return;
      const found = this.#read(block);
      if (found !== undefined) {
        if (found.state !== PASSING) visit(found);
        return;
      }
      // Another thread may be at it this very moment, or have ended while it was.
      alone ??= this.#core.stats(this.#name).threads === 1;
      const unborn = new Int32Array(this.#buffers.view(base, 4).slice().buffer)[0] === 0;
      if (alone && !unborn) throw this.#overwritten(base);
    });
  }

  leaks(): readonly Leak[] {
    this.assertOpen();
    const sites = new Map<string, { stack: string; blocks: number; bytes: number }>();
    for (const [p, { serial, size, stack }] of this.#births) {
      const block = this.#blockAround(p);
      const found = block === undefined ? undefined : this.#read(block);
      // Another thread may have freed it, and somebody allocated there anew.
      if (found?.serial !== serial || found.state !== LIVE || found.p !== p) continue;
      const site = (stack.split('\n')[0] ?? '').trim().replace(/^at /, '');
      const sum = sites.get(site) ?? { stack, blocks: 0, bytes: 0 };
      sum.blocks += 1;
      sum.bytes += size;
      sites.set(site, sum);
    }
    return [...sites]
      .map(([site, sum]) => ({ site, ...sum }))
      .toSorted((a, b) => b.bytes - a.bytes);
  }

  share(): void {
    this.#core.share();
  }

  close(how: 'close' | 'destroy'): void {
    if (!this.open) {
      this.#core.close(how);
      return;
    }
    let damage: unknown;
    let leaks: readonly Leak[] = [];
    try {
      this.check();
      if (this.#core.stats(this.#name).threads === 1) leaks = this.leaks();
    } catch (error) {
      damage = error;
    }
    const late = how === 'close' ? this.#letQuarantineGo() : undefined;
    damage ??= late;
    this.#core.close(how);
    this.#births.clear();
    this.#quarantine.length = 0;
    if (leaks.length > 0) this.#report(leaks);
    if (damage !== undefined) throw damage;
  }

  /** Gives back what nobody else will, as other threads may go on; damaged blocks stay. Returns the first damage. */
  #letQuarantineGo(): unknown {
    let damage: unknown;
    for (;;) {
      try {
        if (!this.#evict()) return damage;
      } catch (error) {
        // Another thread may destroy the heap meanwhile.
        if ((error as AllocError).code === 'ERR_CORRUPTED') damage ??= error;
      }
    }
  }

  /** On the channel, and as one warning of the process. */
  #report(leaks: readonly Leak[]): void {
    if (channels.leak.hasSubscribers) channels.leak.publish({ name: this.#name, leaks });
    const blocks = leaks.reduce((sum, leak) => sum + leak.blocks, 0);
    const bytes = leaks.reduce((sum, leak) => sum + leak.bytes, 0);
    const lines = leaks
      .slice(0, 10)
      .map((l) => `  ${l.blocks} blocks, ${l.bytes} bytes: ${l.site}`);
    process.emitWarning(
      `heap ${this.#name} was closed with ${blocks} live blocks of ${bytes} bytes\n${lines.join('\n')}`,
      { type: 'HeapLeakWarning', code: 'HEAPWRIGHT_LEAK' },
    );
  }
}

/** The magic number of a header at `base`: of no use anywhere else. */
function magicOf(base: number): number {
  return (MAGIC ^ Math.imul(base / 16, 0x9e_37_79_b1)) | 0;
}

/** The index of the first byte in `[from, to)` that is not `value`; -1 where there is none. */
function firstOther(bytes: Uint8Array, from: number, to: number, value: number): number {
  for (let i = from; i < to; i += 1) if (bytes[i] !== value) return i;
  return -1;
}
