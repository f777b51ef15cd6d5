/**
 * @file Acceptance tests A3 and A23: every method of every family, called wrongly in every way.
 *
 * A3: more than 50 hostile values in the place of every parameter, the others being right: a wrong
 * type is a TypeError with its code, a wrong number an `AllocError` with its code, and after each
 * throw the statistics are as before and `check()` is clean. A23: every method before `init`, after
 * `close`, re-entered from a getter in the middle of the call, and on views that were detached.
 */
import { describe, expect, it } from 'vitest';
import {
  AllocError,
  BitmapIdAllocator,
  BitmapPageAllocator,
  BuddyByteAllocator,
  MiB,
  SlabByteAllocator,
  TlsfByteAllocator,
  createAllocator,
} from '../index.ts';
import type { BaseAllocator } from '../index.ts';
import { BAD_NUMBERS, NO_NUMBERS, ODD_CODES, ODD_NUMBERS } from './support/hostile.ts';
import { BYTE_KINDS, bytesOf, idsOf, pagesOf } from './support/kinds.ts';
import type { Bytes } from './support/kinds.ts';
import { expectRefusal, expectWrongType, state, thrownBy } from './support/refusal.ts';

/** One parameter of a method. */
interface Parameter {
  readonly name: string;
  readonly is: 'number' | 'any number' | 'positions' | 'function';
  /** May be `undefined`. */
  readonly optional?: true;
}

/** A method, with arguments that are right for an allocator in which block `p` is live. */
interface Method {
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly valid: (p: number) => unknown[];
}

const number = (name: string): Parameter => ({ name, is: 'number' });
const maybe = (name: string): Parameter => ({ name, is: 'number', optional: true });

const SHARED: readonly Method[] = [
  { name: 'init', parameters: [number('start'), number('size')], valid: () => [MiB(64), MiB(1)] },
  {
    name: 'addMemory',
    parameters: [number('start'), number('size')],
    valid: () => [MiB(2), MiB(1)],
  },
  { name: 'walk', parameters: [{ name: 'visit', is: 'function' }], valid: () => [() => undefined] },
  { name: 'stats', parameters: [], valid: () => [] },
  { name: 'check', parameters: [], valid: () => [] },
];

const BYTE_METHODS: readonly Method[] = [
  ...SHARED,
  { name: 'alloc', parameters: [number('size'), maybe('align')], valid: () => [64, 16] },
  { name: 'allocZeroed', parameters: [number('size'), maybe('align')], valid: () => [64, 16] },
  {
    name: 'dealloc',
    parameters: [number('pos'), maybe('size'), maybe('align')],
    valid: (p) => [p, 4096, 4096],
  },
  { name: 'realloc', parameters: [number('pos'), number('newSize')], valid: (p) => [p, 128] },
  {
    name: 'allocMany',
    parameters: [number('size'), number('count'), maybe('align')],
    valid: () => [64, 4, 16],
  },
  {
    name: 'deallocMany',
    parameters: [{ name: 'positions', is: 'positions' }],
    valid: (p) => [[p]],
  },
  { name: 'isLive', parameters: [{ name: 'pos', is: 'any number' }], valid: (p) => [p] },
  { name: 'usableSize', parameters: [number('pos')], valid: (p) => [p] },
  { name: 'view', parameters: [number('pos'), maybe('length')], valid: (p) => [p, 64] },
];

const PAGE_METHODS: readonly Method[] = [
  ...SHARED,
  { name: 'allocPages', parameters: [number('count'), maybe('align')], valid: () => [2, 8192] },
  {
    name: 'allocPagesAt',
    parameters: [number('base'), number('count'), maybe('align')],
    valid: () => [MiB(1) + 65_536, 2, 8192],
  },
  { name: 'deallocPages', parameters: [number('pos'), maybe('count')], valid: (p) => [p, 2] },
  { name: 'isLive', parameters: [{ name: 'pos', is: 'any number' }], valid: (p) => [p] },
  { name: 'view', parameters: [number('pos'), maybe('length')], valid: (p) => [p, 64] },
];

const ID_METHODS: readonly Method[] = [
  ...SHARED.map((method) =>
    method.name === 'addMemory' ? { ...method, valid: () => [2000, 100] } : method,
  ),
  { name: 'allocId', parameters: [maybe('count'), maybe('align')], valid: () => [2, 2] },
  { name: 'allocFixedId', parameters: [number('id')], valid: () => [900] },
  { name: 'deallocId', parameters: [number('start'), maybe('count')], valid: (p) => [p, 3] },
  { name: 'isAllocated', parameters: [{ name: 'id', is: 'any number' }], valid: (p) => [p] },
];

/** An allocator with a live block, as a target. */
interface Target {
  readonly allocator: BaseAllocator & Record<string, (...args: unknown[]) => unknown>;
  readonly block: number;
}

const targetOf = (allocator: BaseAllocator, block: number): Target =>
  ({ allocator, block }) as unknown as Target;

const SUBJECTS = [
  ...BYTE_KINDS.map((kind) => ({
    kind,
    methods: BYTE_METHODS,
    make: () => {
      const allocator = bytesOf(kind);
      allocator.alloc(100);
      return targetOf(allocator, allocator.alloc(4096, 4096));
    },
    fresh: () =>
      new { buddy: BuddyByteAllocator, tlsf: TlsfByteAllocator, slab: SlabByteAllocator }[kind](),
  })),
  {
    kind: 'bitmap',
    methods: PAGE_METHODS,
    make: () => {
      const allocator = createAllocator({
        kind: 'bitmap',
        size: MiB(1),
        memory: true,
        capacityBytes: MiB(256),
      });
      return targetOf(allocator, allocator.allocPages(2));
    },
    fresh: () => new BitmapPageAllocator({ memory: true }),
  },
  {
    kind: 'id',
    methods: ID_METHODS,
    make: () => {
      const allocator = idsOf();
      return targetOf(allocator, allocator.allocId(3));
    },
    fresh: () => new BitmapIdAllocator(),
  },
];

let calls = 0;

/** Calls `method` with `value` in the place of parameter `at`; returns what it threw, if anything. */
function attack(target: Target, method: Method, at: number, value: unknown): unknown {
  calls += 1;
  const { allocator, block } = target;
  const args = method.valid(block);
  args[at] = value;
  const before = state(allocator);
  try {
    (allocator[method.name] as (...args: unknown[]) => unknown)(...args);
    return undefined;
  } catch (error) {
    expect(state(allocator)).toEqual(before);
    allocator.check();
    return error;
  }
}

/** A throw that says what a wrong type is. */
function expectTypeError(error: unknown, context: string): void {
  expect(error, context).toBeInstanceOf(TypeError);
  expect((error as { code?: string }).code, `${context}: ${String((error as Error).message)}`).toBe(
    'ERR_INVALID_ARG_TYPE',
  );
}

describe.each(SUBJECTS)('kind $kind', ({ methods, make, fresh }) => {
  for (const method of methods) {
    method.parameters.forEach((parameter, at) => {
      it(`${method.name} refuses every wrong ${parameter.name}`, () => {
        let target = make();
        const context = (name: string) => `${method.name}(${parameter.name} = ${name})`;
        for (const hostile of NO_NUMBERS) {
          const value = hostile.make(target.allocator);
          if (parameter.is === 'function' && typeof value === 'function') continue;
          // Empty arrays, and arrays over nothing, name no blocks: nothing to free.
          const isEmpty = ['[]', 'a detached array'].includes(hostile.name);
          if (parameter.is === 'positions' && isEmpty) {
            attack(target, method, at, value);
            continue;
          }
          const error = attack(target, method, at, value);
          if (parameter.is === 'positions' && hostile.name === '[64]') {
            expect((error as AllocError).code).toBe('ERR_NOT_ALLOCATED');
          } else if (parameter.is === 'positions' && hostile.name === 'a Proxy') {
            expect((error as Error).message).toBe('valueOf was called');
          } else {
            expectTypeError(error, context(hostile.name));
          }
          expect(target.allocator.closed).toBe(false);
        }
        for (const value of BAD_NUMBERS) {
          const error = attack(target, method, at, value);
          if (parameter.is === 'any number') expect(error, context(String(value))).toBeUndefined();
          else if (parameter.is !== 'number') expectTypeError(error, context(String(value)));
          else {
            expect(error, context(String(value))).toBeInstanceOf(AllocError);
            expect((error as AllocError).code, context(String(value))).toBe('ERR_INVALID_PARAM');
            expect((error as AllocError).message).toContain(String(value));
          }
        }
        for (const value of ODD_NUMBERS) {
          const error = attack(target, method, at, value);
          if (error === undefined) target = make();
          else if (parameter.is === 'number') {
            expect(error, context(String(value))).toBeInstanceOf(AllocError);
            expect(ODD_CODES).toContain((error as AllocError).code);
          } else expectTypeError(error, context(String(value)));
        }
        const error = attack(target, method, at, undefined);
        if (parameter.optional !== true) expectTypeError(error, context('undefined'));
        else expect(error, context('undefined')).toBeUndefined();
      });
    });

    it(`${method.name} throws ERR_CLOSED before init and after close`, () => {
      const { allocator, block } = make();
      const args = method.valid(block);
      allocator.close();
      allocator.close();
      const call = (target: unknown) => (target as Target['allocator'])[method.name]?.(...args);
      expectRefusal('ERR_CLOSED', /closed/, () => call(allocator));
      if (method.name !== 'init') expectRefusal('ERR_CLOSED', /init/, () => call(fresh()));
    });

    it(`${method.name} judges types first, then values, then the state`, () => {
      const { allocator, block } = make();
      const { parameters } = method;
      allocator.close();
      const call = (args: unknown[]) => () =>
        (allocator[method.name] as (...args: unknown[]) => unknown)(...args);
      parameters.forEach((parameter, at) => {
        if (parameter.is !== 'number') return;
        const bad = method.valid(block).with(at, -1);
        expectRefusal('ERR_INVALID_PARAM', /-1/, call(bad));
        parameters.forEach((_, other) => {
          if (other !== at) expectTypeError(thrownBy(call(bad.with(other, 'x'))), method.name);
        });
      });
    });
  }
});

describe('options', () => {
  const CONSTRUCTORS = [
    { Class: BuddyByteAllocator, keys: ['memory'] },
    { Class: TlsfByteAllocator, keys: ['memory'] },
    { Class: SlabByteAllocator, keys: ['memory'] },
    { Class: BitmapPageAllocator, keys: ['memory', 'pageSize', 'capacityBytes'] },
  ] as const;

  it.each(CONSTRUCTORS)('are checked by new $Class.name', ({ Class, keys }) => {
    const make = (options: unknown) => () => new Class(options as object);
    for (const value of [null, 1, 1n, 'x', true, Symbol('x'), () => 1])
      expectWrongType('options', make(value));
    expectRefusal('ERR_INVALID_PARAM', /unknown key "size"/, make({ size: 1 }));
    for (const key of keys) {
      for (const hostile of NO_NUMBERS) {
        const value = hostile.make({ close: () => undefined });
        if (key === 'memory' && typeof value === 'boolean') continue;
        expectWrongType(`options.${key}`, make({ [key]: value }));
        calls += 1;
      }
      if (key === 'memory') continue;
      for (const value of BAD_NUMBERS)
        expectRefusal('ERR_INVALID_PARAM', /./, make({ [key]: value }));
    }
    expectWrongType(
      'options',
      make(
        NO_NUMBERS.find(({ name }) => name === 'a revoked Proxy')?.make({ close: () => undefined }),
      ),
    );
  });

  it.each(['buddy', 'tlsf', 'slab', 'bitmap', 'id'] as const)(
    'are checked by createAllocator, kind %s',
    (kind) => {
      const make = (more: object) => () =>
        createAllocator({ kind, size: MiB(1), ...more } as { kind: 'bitmap'; size: number });
      const keys = ['start', 'size', ...(kind === 'bitmap' ? ['pageSize', 'capacityBytes'] : [])];
      for (const key of keys) {
        for (const hostile of NO_NUMBERS) {
          expectWrongType(
            `options.${key}`,
            make({ [key]: hostile.make({ close: () => undefined }) }),
          );
          calls += 1;
        }
        for (const value of BAD_NUMBERS) {
          expectRefusal(
            'ERR_INVALID_PARAM',
            new RegExp(String(value).replaceAll(/[+.]/gu, String.raw`\$&`)),
            make({ [key]: value }),
          );
          calls += 1;
        }
      }
    },
  );

  it('are not taken from a polluted prototype', () => {
    const prototype = Object.prototype as { memory?: unknown; start?: unknown };
    prototype.memory = 'polluted';
    prototype.start = 'polluted';
    try {
      const allocator = createAllocator({ kind: 'tlsf', size: MiB(1) });
      expect(allocator.ranges[0]?.start).toBe(MiB(1));
      expect(allocator.view(allocator.alloc(8)).length).toBe(8);
    } finally {
      delete prototype.memory;
      delete prototype.start;
    }
  });
});

describe('a program that comes in between', () => {
  it('closes the allocator from a getter of a batch', () => {
    const allocator = bytesOf('tlsf');
    const p = allocator.alloc(8);
    const batch = {
      length: 1,
      get 0() {
        allocator.close();
        return p;
      },
    };
    expectRefusal('ERR_CLOSED', /closed/, () => allocator.deallocMany(batch));
  });

  it('frees a block of the batch from a getter of it', () => {
    const allocator = bytesOf('tlsf');
    const [p, q] = allocator.allocMany(8, 2) as unknown as [number, number];
    const batch = {
      length: 2,
      0: p,
      get 1() {
        allocator.dealloc(q);
        return q;
      },
    };
    expectRefusal('ERR_NOT_ALLOCATED', /not live/, () => allocator.deallocMany(batch));
    expect(allocator.isLive(p)).toBe(true);
    expect(allocator.check()).toBe(1);
  });

  it('closes the allocator while it is walked', () => {
    const allocator = bytesOf('buddy');
    allocator.allocMany(8, 3);
    let visits = 0;
    allocator.walk(() => {
      visits += 1;
      allocator.close();
    });
    expect(visits).toBe(3);
  });

  it('claims a batch of any length', () => {
    const allocator = bytesOf('slab');
    expectWrongType('positions[0]', () => allocator.deallocMany({ length: 2 ** 50 }));
    expectRefusal('ERR_INVALID_PARAM', /length.*Infinity/, () =>
      allocator.deallocMany({ length: Infinity }),
    );
    expectWrongType('positions', () =>
      allocator.deallocMany(new BigInt64Array(2) as unknown as number[]),
    );
  });

  it('asks for more blocks than an array can name', () => {
    const allocator = createAllocator({ kind: 'tlsf', size: 2 ** 40, memory: false });
    const error = expectRefusal('ERR_NO_MEMORY', /./, () =>
      allocator.allocMany(1, 2 ** 39 + 2 ** 38),
    );
    expect(error.requested).toBe(2 ** 39 + 2 ** 38);
    expectRefusal('ERR_INVALID_PARAM', /size \* count/, () =>
      allocator.allocMany(2 ** 30, 2 ** 30),
    );
    expect(allocator.check()).toBe(0);
  });

  it('takes away the buffers of one allocator after the other', () => {
    for (const allocator of [...BYTE_KINDS.map((kind) => bytesOf(kind)), pagesOf()]) {
      const p = 'alloc' in allocator ? allocator.alloc(4096) : allocator.allocPages(1);
      const view = allocator.view(p);
      const stream = new ReadableStream({ type: 'bytes', start: (to) => to.enqueue(view) });
      expect([stream.locked, view.length]).toEqual([false, 0]);
      expect(() => view.fill(1)).toThrow(TypeError);
      expect(allocator.view(p).fill(1).length).toBe(4096);
      expect(allocator.check()).toBe(1);
    }
  });
});

describe('the whole of it', () => {
  it('was tried often enough', () => {
    console.log(`misuse: ${calls} hostile calls`);
    expect(calls).toBeGreaterThanOrEqual(3000);
  });

  it('leaves other allocators alone', () => {
    const allocator: Bytes = bytesOf('tlsf');
    bytesOf('tlsf').close();
    allocator.dealloc(allocator.alloc(8));
    expect(allocator.check()).toBe(0);
  });
});
