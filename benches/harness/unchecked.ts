/**
 * @file Makes the peer of B17: a copy of the built front in which `free` does not look whether a block is live.
 *
 * The copy lies in `dist/unchecked/`, inside the package, so that `#binding` resolves as it does for the original. What is
 * removed is named here by its text; when the text is not there (the sources have changed), no copy is made, and B17 reports
 * the path as skipped.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A piece of a built file and what stands in its place. */
interface Removal {
  readonly file: string;
  readonly pattern: RegExp;
  readonly by: string;
}

/** The live check of the two fast paths. */
const REMOVALS: readonly Removal[] = [];

/** Makes the copy; returns the path of its entry, or undefined. */
export function makeUnchecked(dist: string): string | undefined {
  const copy = join(dist, 'unchecked');
  rmSync(copy, { recursive: true, force: true });
  if (REMOVALS.length === 0) return undefined;
  mkdirSync(copy, { recursive: true });
  for (const part of ['index.js', 'src', 'native']) {
    if (existsSync(join(dist, part)))
      cpSync(join(dist, part), join(copy, part), { recursive: true });
  }
  for (const { file, pattern, by } of REMOVALS) {
    const path = join(copy, file);
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const changed = text.replace(pattern, by);
    if (changed === text) return undefined;
    writeFileSync(path, changed);
  }
  return join(copy, 'index.js');
}
