/**
 * @file Makes the peer of B17: a copy of the built front in which `free` does not look whether a block is live.
 *
 * The copy lies in `dist/unchecked/`, inside the package, so that `#binding` resolves as it does for the original. What is
 * removed is named here by its text; when the text is not there (the sources have changed), no copy is made, B17 reports the
 * path as skipped, and a test fails.
 */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Code of the two exclusive hot paths that exists for the check alone, and what stands in its place. */
const REMOVALS: readonly { readonly pattern: RegExp; readonly by: string }[] = [
  // A pop marks its block live.
  {
    pattern:
      /const w = bits \+ \(\(e & inside\) >>> 9\);\s*m\[w\] = m\[w\] \| \(1 << \(e >>> 4\)\);/g,
    by: '',
  },
  // A free looks whether the number is an address of the heap and whether a live block starts there,
  {
    pattern:
      /if \(typeof p === 'number'\) \{\s*const q = signed \? p & inside : \(p & inside\) >>> 0;\s*const w = bits \+ \(q >>> 9\);\s*const [sv] = m\[w\];\s*const b = 1 << \(q >>> 4\);/g,
    by: '{ const q = p;',
  },
  {
    pattern: /if \(q === p && \(s & b\) !== 0\) \{(?=\s*const c = m\[pages \+ \(q >>> 12\)\])/g,
    by: '{',
  },
  { pattern: /q === p && \(v & b\) !== 0 && m\[pages \+ \(q >>> 12\)\] === c && /g, by: '' },
  // and marks it free.
  { pattern: /m\[w\] = [sv] \^ b;(?=\s*m\[t\] = q;)/g, by: '' },
];

/** The heap's and the pool's path have each of them, but the two tests of liveness differ. */
const EXPECTED = [2, 2, 1, 1, 2];

/**
 * Takes the check out of the built hot path.
 *
 * @param text - `dist/src/magazine.js`.
 * @returns The text without it; undefined where it is not what this file knows.
 */
export function withoutCheck(text: string): string | undefined {
  let rest = text;
  for (const [index, { pattern, by }] of REMOVALS.entries()) {
    if (rest.match(pattern)?.length !== EXPECTED[index]) return undefined;
    rest = rest.replace(pattern, by);
  }
  return rest;
}

/** Makes the copy; returns the path of its entry, or undefined. */
export function makeUnchecked(dist: string): string | undefined {
  const copy = join(dist, 'unchecked');
  const file = join(dist, 'src/magazine.js');
  rmSync(copy, { recursive: true, force: true });
  const text = existsSync(file) ? withoutCheck(readFileSync(file, 'utf8')) : undefined;
  if (text === undefined) return undefined;
  for (const part of ['index.js', 'src', 'native']) {
    if (existsSync(join(dist, part)))
      cpSync(join(dist, part), join(copy, part), { recursive: true });
  }
  writeFileSync(join(copy, 'src/magazine.js'), text);
  return join(copy, 'index.js');
}
