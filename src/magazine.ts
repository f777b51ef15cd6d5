/**
 * @file The hot path of the Heap: pop, push and the live check over native memory.
 *
 * ```text
 * thread area   [control words | size → class | tops | stacks …]        one Int32Array, constant offsets
 * page map      one word per 4 KiB page: class, mode, owner              small, stays in cache
 * live state    exclusive: a bit per 16 B granule      shared: a byte per granule, by atomics where need be
 *
 * class c       alloc stack  0 p p p p .   ← alloc pops         free stack  0 p p . . .   ← free pushes
 *                                      ╰──────── trade places when one is empty ────────╯
 * ```
 *
 * - Below the base of a stack and above its last word stands a 0, and nowhere between, as 0 is never a
 *   block: "empty" is what a pop finds, "full" is what a push would write over.
 * - `alloc` never waits for the store of a `free` whose address hangs on a cache miss: the two tops are
 *   different words.
 * - Alloc stacks are only popped between two calls of the slow path, so pops need no counter.
 * - The functions below are made per heap, and each heap gets a copy of their code of its own
 *   ({@link specialize}): V8 turns what a closure captured into constants only while that code has one
 *   closure, which halves the time of a pair (`docs/heap.md` has the figures).
 * - What the slow path answers is turned into the same kind of number that the fast path has (`| 0`, `>>> 0`, `+`): where
 *   the two meet, V8 would otherwise make a tagged value of both, and a heap number above 2 GiB.
 * - None of them may be left half done by `worker.terminate()`: V8 looks for that at function entry and
 *   at loop back edges, and the steps from the live check to the last store have neither.
 *
 * Invariant: a stack holds only blocks of slabs that this thread owns, none of them live.
 *
 * Not here: anything that crosses to Rust or throws (`heap-core.ts`), which is every other case.
 */

/** Where things lie in a thread area, in words; declared by Rust. */
export interface AreaLayout {
  /** Class number of `ceil(size / 16)`. */
  readonly s2c: number;
  /** Tops of the alloc stacks, by class number. */
  readonly at: number;
  /** Tops of the free stacks. */
  readonly ft: number;
  /** The largest size that magazines serve. */
  readonly smallMax: number;
  /** How many blocks wait in the outbox; they follow. */
  readonly outbox: number;
  /** The most that may wait there. */
  readonly outboxMax: number;
  /** The class number of page runs. */
  readonly large: number;
  /** Names the granule whose state this thread may be changing by a plain store; else 0. */
  readonly hazard: number;
  /** The class number in a word of the page map. */
  readonly classMask: number;
  /** In a word of the page map: states on this page change by atomics only. */
  readonly isPublic: number;
  /** In a word of the page map: the slab's owner, and the mode of the page. */
  readonly ownerAndMode: number;
  /** The slab's owner alone. */
  readonly ownerMask: number;
  /** The owner begins at this bit. */
  readonly ownerShift: number;
  /** So many frees of own blocks on public pages are told of at once. */
  readonly quietFrees: number;
}

/** What a fast path falls back on: everything that is not an ordinary hit. */
export interface SlowPath {
  alloc(size: unknown, align: unknown): number;
  free(p: unknown): void;
  /**
   * This thread has freed many blocks of its own on public pages, the last of class `c`: these may become
   * private again. Never throws.
   */
  settle(c: number): void;
}

/** What a pool falls back on. */
export interface PoolSlowPath {
  alloc(): number;
  free(p: unknown): void;
  settle(): void;
}

/** The two functions of a hot path. */
export interface HeapPath {
  readonly alloc: (size: number, align?: number) => number;
  readonly free: (p: number) => void;
}

/** Which numbers are addresses of a heap. */
export interface Addresses {
  /** Size of the heap in bytes. */
  readonly end: number;
  /**
   * Up to 4 GiB: which bits of a 32-bit number may be set in a block's address. Page map and state bits span
   * all addresses of that form.
   */
  readonly inside: number;
  /** Up to 2 GiB: addresses are never negative as 32-bit integers. */
  readonly signed: boolean;
  /** Above 4 GiB: stacks hold granule numbers instead of addresses. */
  readonly big: boolean;
}

/** The memory of an exclusive heap: one array over thread area, page map and state bits. */
export interface ExclusiveMemory extends Addresses {
  readonly m: Int32Array;
  /** Word index of the page map. */
  readonly pages: number;
  /** Word index of the state bits. */
  readonly bits: number;
}

/** The memory of a shared heap, as one thread sees it. */
export interface SharedMemory extends Addresses {
  /** This thread's area. */
  readonly t: Int32Array;
  readonly pageMap: Int32Array;
  /**
   * A byte per granule. Signed, because the hidden class of every `Uint8Array` of Node may change (a `Buffer` is one), so
   * that V8 would look at it at each access.
   */
  readonly state: Int8Array;
  /** This thread's slot: the owner in page map words. */
  readonly me: number;
  /**
   * The state of a block that this thread freed by an atomic, and no other: in its magazines, or in its outbox.
   * 0 where it has none: then Rust frees what takes an atomic.
   */
  readonly mark: number;
}

/** The mutable state of a pool's hot path. */
export interface PoolState {
  /** Of the pool's own stack: an object field, which V8 keeps in a register across a pair. */
  top: number;
  /** Allocations since they were last added up. */
  count: number;
  /** Frees on public pages. */
  publicFrees: number;
}

/** The hot path of one size. */
export interface PoolPath {
  readonly alloc: () => number;
  readonly free: (p: number) => void;
}

/**
 * The hot path of a heap up to 4 GiB that one thread has: entries of stacks are addresses.
 *
 * Refers to nothing outside itself, so that {@link specialize} can make copies of it. Kept short: what V8
 * inlines into the program's loop is limited by its length, and a pair takes a cycle for six instructions.
 */
export function exclusivePath(memory: ExclusiveMemory, area: AreaLayout, slow: SlowPath): HeapPath {
  const { m, pages, bits, inside, signed } = memory;
  const { s2c, at, ft, smallMax } = area;

  function alloc(size: number, align?: number): number {
    if (
      typeof size === 'number' &&
      (size | 0) === size &&
      (size - 1) >>> 0 < smallMax &&
      align === undefined
    ) {
      const c = m[s2c + ((size + 15) >>> 4)] as number;
      const t = ((m[at + c] as number) - 1) | 0;
      const e = m[t] as number;
      if (e !== 0) {
        m[at + c] = t;
        const w = bits + ((e & inside) >>> 9);
        m[w] = (m[w] as number) | (1 << (e >>> 4));
        return signed ? e : e >>> 0;
      }
    }
    return signed ? slow.alloc(size, align) | 0 : slow.alloc(size, align) >>> 0;
  }

  function free(p: number): void {
    if (typeof p === 'number') {
      const q = signed ? p & inside : (p & inside) >>> 0;
      const w = bits + (q >>> 9);
      const s = m[w] as number;
      const b = 1 << (q >>> 4);
      if (q === p && (s & b) !== 0) {
        const c = m[pages + (q >>> 12)] as number;
        const t = m[ft + c] as number;
        if (m[t] !== 0) {
          m[w] = s ^ b;
          m[t] = q;
          m[ft + c] = (t + 1) | 0;
          return;
        }
      }
    }
    slow.free(p);
  }

  return { alloc, free };
}

/**
 * The hot path of a heap above 4 GiB that one thread has: entries of stacks are granule numbers.
 *
 * Refers to nothing outside itself, so that {@link specialize} can make copies of it.
 */
export function exclusiveBigPath(
  memory: ExclusiveMemory,
  area: AreaLayout,
  slow: SlowPath,
): HeapPath {
  const { m, pages, bits, end } = memory;
  const { s2c, at, ft, smallMax } = area;

  function alloc(size: number, align?: number): number {
    if (
      typeof size === 'number' &&
      (size | 0) === size &&
      (size - 1) >>> 0 < smallMax &&
      align === undefined
    ) {
      const c = m[s2c + ((size + 15) >>> 4)] as number;
      const t = (m[at + c] as number) - 1;
      const e = m[t] as number;
      if (e !== 0) {
        m[at + c] = t;
        const w = bits + (e >>> 5);
        m[w] = (m[w] as number) | (1 << e);
        return (e >>> 0) * 16;
      }
    }
    return +slow.alloc(size, align);
  }

  function free(p: number): void {
    if (typeof p === 'number' && p < end) {
      const g = (p / 16) >>> 0;
      const w = bits + (g >>> 5);
      const s = m[w] as number;
      const b = 1 << g;
      if (g * 16 === p && (s & b) !== 0) {
        const c = m[pages + (g >>> 8)] as number;
        const t = m[ft + c] as number;
        if (m[t] !== 0) {
          m[w] = s ^ b;
          m[t] = g;
          m[ft + c] = t + 1;
          return;
        }
      }
    }
    slow.free(p);
  }

  return { alloc, free };
}

/**
 * The hot path of one thread of a shared heap.
 *
 * On a private page only the owner of the slab changes states, by plain stores; `hazard` tells a thread that
 * is about to end that which granule is on its way (`publish.rs` has the protocol; the order of the two
 * stores and of what stands between them is part of it). On a public page a block belongs to the one thread
 * whose compare-exchange takes its state from live (1) to the mark of this thread. A block of this thread's own goes
 * on its stack then, and another's waits in the outbox for Rust. Whoever claimed by what the page map said before makes
 * the block live again: its mark is taken back and no other's, for the block may have been freed, handed out and
 * claimed by another thread meanwhile; and until then its mark keeps a recovery of the owner's magazines away from
 * it (`recover.rs`).
 *
 * Refers to nothing outside itself, so that {@link specialize} can make copies of it.
 */
export function sharedPath(memory: SharedMemory, area: AreaLayout, slow: SlowPath): HeapPath {
  const { t, pageMap, state, end, signed, big, me, mark } = memory;
  const { s2c, at, ft, smallMax, outbox, outboxMax, hazard } = area;
  const { classMask, isPublic, ownerAndMode, ownerShift, quietFrees } = area;
  // What a word of a page of this thread's own says of owner and mode.
  const mine = me << ownerShift;
  // Without a mark of its own this thread leaves all frees on public pages to Rust: no word is this.
  const mineInPublic = mark === 0 ? -1 : mine | isPublic;
  const room = mark === 0 ? 0 : outboxMax;
  /** Own frees on public pages since they were last told of, by class number. */
  const publicFrees = new Int32Array(classMask + 1);
  // Of this attachment: another thread may get the same area later, under another number.
  const alive = (t[0] as number) || -1; // Never that of a heap that was destroyed meanwhile.

  function alloc(size: number, align?: number): number {
    if (
      typeof size === 'number' &&
      (size | 0) === size &&
      (size - 1) >>> 0 < smallMax &&
      align === undefined &&
      t[0] === alive
    ) {
      const c = t[s2c + ((size + 15) >>> 4)] as number;
      const top = (t[at + c] as number) - 1;
      const e = t[top] as number;
      if (e !== 0) {
        t[at + c] = top;
        state[big ? e >>> 0 : e >>> 4] = 1;
        return big ? (e >>> 0) * 16 : signed ? e : e >>> 0;
      }
    }
    const p = slow.alloc(size, align);
    return big ? +p : signed ? p | 0 : p >>> 0;
  }

  function free(p: number): void {
    if (typeof p === 'number' && p >= 0 && p < end && t[0] === alive) {
      const g = big ? (p / 16) >>> 0 : p >>> 4;
      if (g * 16 === p) {
        t[hazard] = g;
        const word = pageMap[g >>> 8] as number;
        const c = word & classMask;
        if ((word & ownerAndMode) === mine && state[g] === 1) {
          const top = t[ft + c] as number;
          if (t[top] !== 0) {
            state[g] = 0;
            t[top] = big ? g : p;
            t[ft + c] = top + 1;
            t[hazard] = 0;
            return;
          }
        }
        t[hazard] = 0;
        if ((word & isPublic) !== 0 && freePublic(g, word, c)) return;
      }
    }
    slow.free(p);
  }

  // Longer than what V8 inlines (460 bytes of bytecode): inside of `free` it would keep that out of the program's loop.
  function freePublic(g: number, word: number, c: number): boolean {
    if ((word & ownerAndMode) === mineInPublic) {
      const top = t[ft + c] as number;
      if (t[top] === 0 || Atomics.compareExchange(state, g, 1, mark) !== 1) return false;
      // Looked at again, now that the block is nobody else's: its slab cannot change any more. It is another's where
      // its owner has freed it by a plain store meanwhile, and has died before this thread became the owner.
      if (pageMap[g >>> 8] === word && state[g] === mark) {
        t[top] = big ? g : g * 16;
        t[ft + c] = top + 1;
        const frees = (publicFrees[c] as number) + 1;
        publicFrees[c] = frees === quietFrees ? 0 : frees;
        if (frees === quietFrees) slow.settle(c);
        return true;
      }
      // Unless its owner has freed the block by a plain store.
      Atomics.compareExchange(state, g, mark, 1);
      return false;
    }
    const n = t[outbox] as number;
    if (n >= room) return false;
    // The entry first: a block that is claimed is always in somebody's outbox.
    t[outbox + 1 + n] = big ? g : g * 16;
    t[outbox] = n + 1;
    if (Atomics.compareExchange(state, g, 1, mark) === 1) {
      if (pageMap[g >>> 8] === word && state[g] === mark) return true;
      // Another slab since, and its owner may have freed the block by a plain store.
      Atomics.compareExchange(state, g, mark, 1);
    }
    t[outbox] = n;
    return false;
  }

  return { alloc, free };
}

/**
 * The hot path of a pool on an exclusive heap up to 4 GiB: one stack, its top in a field.
 *
 * Refers to nothing outside itself, so that {@link specialize} can make copies of it.
 */
export function exclusivePoolPath(
  memory: ExclusiveMemory,
  c: number,
  s: PoolState,
  slow: PoolSlowPath,
): PoolPath {
  const { m, pages, bits, inside, signed } = memory;

  function alloc(): number {
    const t = (s.top - 1) | 0;
    const e = m[t] as number;
    if (e !== 0) {
      s.top = t;
      s.count += 1;
      const w = bits + ((e & inside) >>> 9);
      m[w] = (m[w] as number) | (1 << (e >>> 4));
      return signed ? e : e >>> 0;
    }
    return signed ? slow.alloc() | 0 : slow.alloc() >>> 0;
  }

  function free(p: number): void {
    if (typeof p === 'number') {
      const q = signed ? p & inside : (p & inside) >>> 0;
      const w = bits + (q >>> 9);
      const v = m[w] as number;
      const b = 1 << (q >>> 4);
      const t = s.top;
      if (q === p && (v & b) !== 0 && m[pages + (q >>> 12)] === c && m[t] !== 0) {
        m[w] = v ^ b;
        m[t] = q;
        s.top = (t + 1) | 0;
        return;
      }
    }
    slow.free(p);
  }

  return { alloc, free };
}

/**
 * The hot path of a pool on an exclusive heap above 4 GiB.
 *
 * Refers to nothing outside itself, so that {@link specialize} can make copies of it.
 */
export function exclusiveBigPoolPath(
  memory: ExclusiveMemory,
  c: number,
  s: PoolState,
  slow: PoolSlowPath,
): PoolPath {
  const { m, pages, bits, end } = memory;

  function alloc(): number {
    const t = s.top - 1;
    const e = m[t] as number;
    if (e !== 0) {
      s.top = t;
      s.count += 1;
      const w = bits + (e >>> 5);
      m[w] = (m[w] as number) | (1 << e);
      return (e >>> 0) * 16;
    }
    return +slow.alloc();
  }

  function free(p: number): void {
    if (typeof p === 'number' && p < end) {
      const g = (p / 16) >>> 0;
      const w = bits + (g >>> 5);
      const v = m[w] as number;
      const b = 1 << g;
      const t = s.top;
      if (g * 16 === p && (v & b) !== 0 && m[pages + (g >>> 8)] === c && m[t] !== 0) {
        m[w] = v ^ b;
        m[t] = g;
        s.top = t + 1;
        return;
      }
    }
    slow.free(p);
  }

  return { alloc, free };
}

/**
 * The hot path of a pool of one thread of a shared heap.
 *
 * Refers to nothing outside itself, so that {@link specialize} can make copies of it.
 */
export function sharedPoolPath(
  memory: SharedMemory,
  area: AreaLayout,
  c: number,
  s: PoolState,
  slow: PoolSlowPath,
): PoolPath {
  const { t, pageMap, state, end, signed, big, me, mark } = memory;
  const { classMask, hazard, isPublic, ownerAndMode, ownerShift, quietFrees } = area;
  // Of a word of the page map: all but its generation.
  const looked = classMask | ownerAndMode;
  const own = c | (me << ownerShift);
  const ownInPublic = mark === 0 ? -1 : own | isPublic; // As in `sharedPath`.
  const alive = (t[0] as number) || -1; // Never that of a heap that was destroyed meanwhile.

  function alloc(): number {
    const top = s.top - 1;
    const e = t[top] as number;
    if (e !== 0 && t[0] === alive) {
      s.top = top;
      s.count += 1;
      state[big ? e >>> 0 : e >>> 4] = 1;
      return big ? (e >>> 0) * 16 : signed ? e : e >>> 0;
    }
    const p = slow.alloc();
    return big ? +p : signed ? p | 0 : p >>> 0;
  }

  // Short enough for V8 to inline it (460 bytes of bytecode), which is why what is used twice has a name.
  function free(p: number): void {
    if (typeof p === 'number' && p >= 0 && p < end && t[0] === alive) {
      const g = big ? (p / 16) >>> 0 : p >>> 4;
      const top = s.top;
      if (g * 16 === p && t[top] !== 0) {
        t[hazard] = g;
        const word = pageMap[g >>> 8] as number;
        const seen = word & looked;
        const e = big ? g : p;
        if (seen === own && state[g] === 1) {
          state[g] = 0;
          t[top] = e;
          s.top = top + 1;
          t[hazard] = 0;
          return;
        }
        t[hazard] = 0;
        if (seen === ownInPublic && Atomics.compareExchange(state, g, 1, mark) === 1) {
          if (pageMap[g >>> 8] === word && state[g] === mark) {
            t[top] = e;
            s.top = top + 1;
            const frees = (s.publicFrees + 1) % quietFrees;
            s.publicFrees = frees;
            if (frees === 0) slow.settle();
            return;
          }
          // Unless its owner has freed the block by a plain store.
          Atomics.compareExchange(state, g, mark, 1);
        }
      }
    }
    slow.free(p);
  }

  return { alloc, free };
}

/** Factories that gave out their own code already. */
const given = new WeakSet<object>();

/** How many copies of code this thread may make; later heaps share, and run slower. */
let copiesLeft = 256;

/**
 * The factory itself the first time, then copies of it with code of their own.
 *
 * @remarks A copy costs about 0.1 ms. Where code from strings is forbidden (a flag of Node), or the
 * allowance is used up, heaps share the code: correct, but their captured constants become loads.
 */
export function specialize<F extends (...parts: never[]) => unknown>(factory: F): F {
  if (!given.has(factory)) {
    given.add(factory);
    return factory;
  }
  if (copiesLeft === 0) return factory;
  copiesLeft -= 1;
  try {
    // The text is that of a function of this file, never of the program's.
    // oxlint-disable-next-line no-new-func
    return new Function(`'use strict'; return (${factory.toString()});`)() as F;
  } catch {
    copiesLeft = 0;
    return factory;
  }
}
