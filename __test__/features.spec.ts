/**
 * @file `features()` and `withFeatures()`: what a build contains, and factories with less.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  GiB,
  MiB,
  SlabByteAllocator,
  TlsfByteAllocator,
  createAllocator,
  features,
  withFeatures,
} from '../index.ts';
import type { FeatureFlag } from '../index.ts';
import { expectRefusal, expectWrongType } from './support/refusal.ts';

describe('features', () => {
  it('names kinds, Cargo features, version and backend of this build', () => {
    const { kinds, cargo, version, backend } = features();
    expect(kinds).toEqual(expect.arrayContaining(['buddy', 'tlsf', 'slab', 'bitmap', 'id']));
    expect(cargo).toEqual(
      expect.arrayContaining([
        'full',
        'buddy',
        'tlsf',
        'slab',
        'bitmap',
        'page-alloc-256m',
        'page-alloc-1t',
      ]),
    );
    const manifest = JSON.parse(
      readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
    ) as { version: string };
    expect(version).toBe(manifest.version);
    expect(['external', 'shared']).toContain(backend);
    expect(Object.isFrozen(features()) && Object.isFrozen(kinds) && Object.isFrozen(cargo)).toBe(
      true,
    );
  });
});

describe('createAllocator', () => {
  it('takes tlsf where no kind is given', () => {
    const allocator = createAllocator({ size: MiB(1) });
    expect(allocator).toBeInstanceOf(TlsfByteAllocator);
    expect(allocator.kind).toBe('tlsf');
    expect(createAllocator({ kind: undefined, size: MiB(1) }).kind).toBe('tlsf');
    expect(allocator.ranges).toEqual([{ start: MiB(1), size: MiB(1) }]);
  });

  it('refuses kinds and keys that it does not know', () => {
    const make = createAllocator as (options: unknown) => unknown;
    expectRefusal('ERR_INVALID_PARAM', /kind must be one of .*got "heap"/, () =>
      make({ kind: 'heap', size: MiB(1) }),
    );
    expectRefusal('ERR_INVALID_PARAM', /unknown key "sise"/, () =>
      make({ kind: 'tlsf', sise: MiB(1) }),
    );
    expectRefusal('ERR_INVALID_PARAM', /"pageSize", which kind 'tlsf'/, () =>
      make({ kind: 'tlsf', size: MiB(1), pageSize: 4096 }),
    );
    expectRefusal('ERR_INVALID_PARAM', /"memory", which kind 'id'/, () =>
      make({ kind: 'id', size: 10, memory: true }),
    );
    expectWrongType('options', () => make(undefined));
    expectWrongType('options', () => make(null));
    expectWrongType('options.kind', () => make({ kind: 7, size: MiB(1) }));
    expectWrongType('options.size', () => make({ kind: 'tlsf' }));
    expectWrongType('options.memory', () => make({ kind: 'tlsf', size: MiB(1), memory: 1 }));
  });

  it('reads every option once, and only own ones', () => {
    let reads = 0;
    const allocator = createAllocator({
      kind: 'tlsf',
      get size() {
        reads += 1;
        return MiB(reads);
      },
    });
    expect([reads, allocator.totalBytes]).toEqual([1, MiB(1)]);
    const polluted = Object.create({ memory: 'yes', kind: 'slab' }) as { size: number };
    polluted.size = MiB(1);
    expect(createAllocator(polluted).kind).toBe('tlsf');
  });

  it('passes on what a getter throws', () => {
    const options = {
      get size(): number {
        throw new RangeError('mine');
      },
    };
    expect(() => createAllocator(options)).toThrow(new RangeError('mine'));
  });
});

describe('withFeatures', () => {
  it('offers just those kinds', () => {
    const kernel = withFeatures('slab', 'bitmap');
    expect(kernel.features().kinds).toEqual(['slab', 'bitmap', 'id']);
    expect(kernel.features().cargo.toSorted()).toEqual(['bitmap', 'page-alloc-256m', 'slab']);
    expect(kernel.createAllocator({ size: MiB(1) })).toBeInstanceOf(SlabByteAllocator);
    expectRefusal('ERR_FEATURE_DISABLED', /'tlsf'/, () =>
      kernel.createAllocator({ kind: 'tlsf', size: MiB(1) }),
    );
    expectRefusal('ERR_FEATURE_DISABLED', /'bitmap'/, () =>
      withFeatures('tlsf').createAllocator({ kind: 'id', size: 9 }),
    );
    expectRefusal('ERR_FEATURE_DISABLED', /'tlsf'/, () =>
      withFeatures('bitmap').createAllocator({ size: MiB(1) }),
    );
    expectRefusal('ERR_FEATURE_DISABLED', /'tlsf'/, () =>
      withFeatures().createAllocator({ size: MiB(1) }),
    );
  });

  it('changes nothing for anybody else', () => {
    withFeatures('buddy');
    expect(createAllocator({ size: MiB(1) }).kind).toBe('tlsf');
  });

  it.each<[FeatureFlag[], number, string]>([
    [['bitmap'], MiB(256), 'page-alloc-4g'],
    [['bitmap', 'page-alloc-256m'], MiB(256), 'page-alloc-4g'],
    [['bitmap', 'page-alloc-4g'], GiB(4), 'page-alloc-64g'],
    [['bitmap', 'page-alloc-64g'], GiB(64), 'page-alloc-1t'],
  ])('bounds pages by %j', (flags, most, next) => {
    const factory = withFeatures(...flags);
    factory.createAllocator({ kind: 'bitmap', size: most }).close();
    expectRefusal('ERR_FEATURE_DISABLED', new RegExp(next), () =>
      factory.createAllocator({ kind: 'bitmap', size: most + 4096 }),
    );
    expectRefusal('ERR_FEATURE_DISABLED', new RegExp(next), () =>
      factory.createAllocator({ kind: 'bitmap', size: MiB(1), capacityBytes: most + 4096 }),
    );
  });

  it('has everything with full', () => {
    expect(withFeatures('full').features().kinds).toEqual(features().kinds);
    withFeatures('full')
      .createAllocator({ kind: 'bitmap', size: GiB(1024) })
      .close();
  });

  it('refuses flags that are none', () => {
    expectRefusal('ERR_INVALID_PARAM', /flags\[1\].*"heap"/, () =>
      withFeatures('tlsf', 'heap' as FeatureFlag),
    );
    expectRefusal('ERR_INVALID_PARAM', /toString/, () => withFeatures('toString' as FeatureFlag));
    expectWrongType('flags[0]', () => withFeatures(1 as unknown as FeatureFlag));
  });
});
