/**
 * @file `KiB`, `MiB`, `GiB`.
 */
import { describe, expect, it } from 'vitest';
import { GiB, KiB, MiB } from '../index.ts';
import { expectRefusal, expectWrongType } from './support/refusal.ts';

describe('units', () => {
  it('gives bytes', () => {
    expect([KiB(1), MiB(1), GiB(1)]).toEqual([1024, 1_048_576, 1_073_741_824]);
    expect([KiB(0), KiB(1.5), MiB(0.25), GiB(4)]).toEqual([0, 1536, 262_144, 2 ** 32]);
    expect(Object.is(MiB(-0), 0)).toBe(true);
  });

  it('refuses what is no whole number of bytes below 2^53', () => {
    for (const n of [-1, NaN, Infinity, 0.0001, 2 ** 45, -1e300]) {
      expectRefusal('ERR_INVALID_PARAM', /MiB\(n\)/, () => MiB(n));
    }
    for (const n of [undefined, null, '1', 1n, {}, [1], Symbol('n')]) {
      expectWrongType('n must be', () => KiB(n as number));
    }
  });
});
