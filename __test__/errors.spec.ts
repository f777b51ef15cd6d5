/**
 * @file Every code, reached through the public API, with class, message and details; and the table of
 * them in docs/errors.md.
 *
 * `ERR_NO_BINDING` needs a process of its own (`binding.spec.ts`), `ERR_CORRUPTED` a debug heap
 * (`debug.spec.ts`).
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { KiB, MiB, createAllocator, withFeatures } from '../index.ts';
import type { AllocErrorCode, AllocError } from '../index.ts';
import { STATUS_CODES } from '../native/layout.ts';
import type { FamilyCore } from '../src/family.ts';
import { coreOf } from '../src/family.ts';
import { native } from '../src/native.ts';
import { bytesOf, idsOf, pagesOf } from './support/kinds.ts';
import { expectRefusal, thrownBy } from './support/refusal.ts';

process.env['HEAPWRIGHT_TEST_HOOKS'] = '1';

/** Makes the next native call on this allocator panic, as only our own mistakes could. */
function poison(core: FamilyCore): void {
  const { binding, ctl } = native();
  ctl[0] = core.handle;
  (binding as unknown as { poisonForTest(): void }).poisonForTest();
}

describe('AllocError', () => {
  it('is an Error with a stable code', () => {
    const error = thrownBy(() => bytesOf('tlsf').alloc(0)) as AllocError;
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(TypeError);
    expect([error.name, error.code]).toEqual(['AllocError', 'ERR_INVALID_PARAM']);
    expect(error.message).toBe('size must be an integer from 1 to 2^53 - 1, got 0');
    expect('requested' in error || 'largestFree' in error || 'cause' in error).toBe(false);
    expect(String(error)).toBe(`AllocError: ${error.message}`);
    expect(error.stack).toContain('errors.spec.ts');
  });

  it('gives the value and the limit, and reads on after the name', () => {
    const allocator = bytesOf('buddy');
    expectRefusal('ERR_INVALID_PARAM', /align must be a power of two, got 24$/u, () =>
      allocator.alloc(8, 24),
    );
  });

  const allocator = bytesOf('tlsf');
  const pos = allocator.alloc(100, 16);
  const cases: [AllocErrorCode, RegExp, () => unknown][] = [
    [
      'ERR_INVALID_PARAM',
      /start must be a multiple of 4096, got 5000/,
      () => createAllocator({ kind: 'tlsf', start: 5000, size: MiB(1) }),
    ],
    [
      'ERR_MEMORY_OVERLAP',
      /range 0x100000 overlaps the range of 1048576 bytes at 0x100000/,
      () => allocator.addMemory(MiB(1), KiB(4)),
    ],
    [
      'ERR_NO_MEMORY',
      /no free block of 2097152 bytes: the largest is of \d+ bytes/,
      () => allocator.alloc(MiB(2)),
    ],
    [
      'ERR_NOT_ALLOCATED',
      /block 0x8 is not live: it was freed before, or never handed out/,
      () => allocator.dealloc(8),
    ],
    [
      'ERR_SIZE_MISMATCH',
      /block 0x[0-9a-f]+ has 100 bytes, got 99/,
      () => allocator.dealloc(pos, 99),
    ],
    [
      'ERR_CLOSED',
      /the id allocator is closed/,
      () => {
        const ids = idsOf();
        ids.close();
        ids.allocId();
      },
    ],
    ['ERR_CAPACITY', /268435456/, () => idsOf(2 ** 29)],
    [
      'ERR_FEATURE_DISABLED',
      /kind 'slab' needs the feature 'slab'.*--features slab/,
      () => withFeatures('tlsf').createAllocator({ kind: 'slab', size: MiB(1) }),
    ],
    [
      'ERR_UNSUPPORTED',
      /memory: true/,
      () => {
        const pages = pagesOf(MiB(1), false);
        pages.view(pages.allocPages(1));
      },
    ],
  ];
  it.each(cases)('%s says %s', (code, message, call) => {
    expectRefusal(code, message, call);
  });

  it('carries what was asked for and what could be had', () => {
    const { largestFree } = allocator.stats();
    const error = expectRefusal('ERR_NO_MEMORY', /./, () => allocator.alloc(MiB(3)));
    expect([error.requested, error.largestFree]).toEqual([MiB(3), largestFree]);
    expect(allocator.isLive(allocator.alloc(largestFree, 1))).toBe(true);
  });

  it('counts every failure for want of memory, whatever the call', () => {
    const target = bytesOf('buddy');
    const block = target.alloc(8);
    const calls = [
      () => target.alloc(MiB(2)),
      () => target.allocZeroed(MiB(2)),
      () => target.realloc(block, MiB(2)),
      () => target.allocMany(KiB(64), 20),
      () => target.allocMany(MiB(1), 1000),
    ];
    calls.forEach((call, index) => {
      expectRefusal('ERR_NO_MEMORY', /./, call);
      expect(target.stats().failures).toBe(index + 1);
    });
    const pages = pagesOf(MiB(1), false);
    expectRefusal('ERR_NO_MEMORY', /./, () => pages.allocPages(300));
    pages.allocPages(1);
    expectRefusal('ERR_NO_MEMORY', /./, () => pages.allocPagesAt(MiB(1), 1));
    expect(pages.stats().failures).toBe(2);
    const ids = idsOf(1);
    ids.allocFixedId(0);
    expectRefusal('ERR_NO_MEMORY', /./, () => ids.allocFixedId(0));
    expectRefusal('ERR_NO_MEMORY', /./, () => ids.allocId());
    expect(ids.stats().failures).toBe(2);
  });
});

describe('a poisoned allocator', () => {
  it('says ERR_INTERNAL to every call but close; others live on', () => {
    const victim = bytesOf('tlsf');
    const other = bytesOf('tlsf');
    const block = victim.alloc(64);
    poison(coreOf(victim));
    const calls = [
      () => victim.alloc(8),
      () => victim.allocZeroed(8),
      () => victim.dealloc(block),
      () => victim.realloc(block, 9),
      () => victim.allocMany(8, 2),
      () => victim.deallocMany([block]),
      () => victim.isLive(block),
      () => victim.usableSize(block),
      () => victim.view(block),
      () => victim.stats(),
      () => victim.walk(() => undefined),
      () => victim.check(),
      () => victim.addMemory(MiB(8), MiB(1)),
      () => victim.totalBytes,
      () => victim.usedBytes,
      () => victim.availableBytes,
    ];
    for (const call of calls) expectRefusal('ERR_INTERNAL', /a panic that a test asked for/, call);
    other.dealloc(other.alloc(8));
    victim.close();
    expectRefusal('ERR_CLOSED', /closed/, () => victim.alloc(8));
  });

  it('does so for pages and ids', () => {
    const pages = pagesOf();
    poison(coreOf(pages));
    expectRefusal('ERR_INTERNAL', /panic/, () => pages.allocPages(1));
    const ids = idsOf();
    poison(coreOf(ids));
    expectRefusal('ERR_INTERNAL', /panic/, () => ids.allocId());
    expectRefusal('ERR_INTERNAL', /panic/, () => ids.isAllocated(0));
  });
});

describe('docs/errors.md', () => {
  it('has a line for each code, as Rust and TypeScript have', () => {
    const text = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^\| `(ERR_[A-Z_]+)`/gmu)]
      .map(([, code]) => code)
      .toSorted();
    const source = readFileSync(new URL('../src/errors.ts', import.meta.url), 'utf8');
    const codes = [...source.matchAll(/^ {2}\| '(ERR_[A-Z_]+)'/gmu)].map(([, code]) => code);
    expect(documented).toEqual([...codes, 'ERR_INVALID_ARG_TYPE'].toSorted());
    expect(codes).toEqual(expect.arrayContaining(STATUS_CODES.slice(1)));
  });
});
