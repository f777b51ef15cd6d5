/**
 * @file What the project promises about itself as text: layers, places of `unsafe`, one list of codes,
 * no leftovers. Lengths are a warning with the name, not a failure.
 *
 * Not here: what the compilers and linters test (clippy, oxlint, oxfmt).
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  bareRust,
  filesBelow,
  functionsOf,
  isTestOfRust,
  root,
  sectionOf,
  tableOf,
  textOf,
} from './support/source-tree.ts';

/** The crates by height: a crate depends on lower ones only. */
const heights: Record<string, number> = {
  'heapwright-core': 0,
  'heapwright-region': 1,
  'heapwright-two-level': 1,
  'heapwright-allocators': 1,
  'heapwright-heap': 2,
  'heapwright-node': 3,
};

/** External crates that one crate alone may name. */
const onlyIn: Record<string, string> = {
  napi: 'heapwright-node',
  'napi-derive': 'heapwright-node',
  libc: 'heapwright-region',
  rlsf: 'heapwright-allocators',
  buddy_system_allocator: 'heapwright-allocators',
  slab_allocator: 'heapwright-allocators',
  'bitmap-allocator': 'heapwright-allocators',
};

const crates = filesBelow('crates', 'Cargo.toml').map((path) => path.split('/')[1]!);
const rust = filesBelow('crates', '.rs');
const sourceRust = rust.filter((path) => !isTestOfRust(path) && !path.includes('/tests/'));
const script = ['src', '__test__', 'examples', 'benches', 'scripts']
  .filter((folder) => existsSync(join(root, folder)))
  .flatMap((folder) => filesBelow(folder, '.ts', '.mjs'))
  .concat('index.ts')
  .filter((path) => !path.endsWith('.d.ts'));

/** The codes that a text names, sorted, each once. */
function codesIn(text: string): string[] {
  return [...new Set(text.match(/\bERR_[A-Z_]+\b/g))].toSorted();
}

/** Codes of Node's own errors, which our code may look for. */
function isOfNode(code: string): boolean {
  return /^ERR_(DLOPEN|PARSE_ARGS|BUFFER)/.test(code);
}

/** The places of the list in ARCHITECTURE.md, as paths of folders and files. */
function placesOfUnsafe(): string[] {
  const section = sectionOf(textOf('ARCHITECTURE.md'), /unsafe/i);
  return [...section.matchAll(/`((?:crates\/)?heapwright-[\w-]+(?:\/[\w./-]*)?)`/g)].map(
    ([, place]) => (place!.startsWith('crates/') ? place! : `crates/${place!}`).replace(/\/$/, ''),
  );
}

/** Paths of files for which `found` holds. */
function filesWhere(files: string[], found: (text: string, path: string) => boolean): string[] {
  return files.filter((path) => found(textOf(path), path));
}

describe('layout', () => {
  it('has no top-level index.js, which would shadow index.ts', () => {
    expect(['index.js', 'index.mjs', 'index.cjs'].filter((f) => existsSync(join(root, f)))).toEqual(
      [],
    );
  });

  it('names #binding in src/native.ts only', () => {
    const importers = filesWhere(
      script.filter((path) => path !== '__test__/tidy.spec.ts'),
      (text) => /['"]#binding['"]/.test(text),
    );
    expect(importers).toEqual(['src/native.ts']);
  });

  it('has no dependency at run time and no install script', () => {
    const manifest = JSON.parse(textOf('package.json')) as Record<string, Record<string, string>>;
    expect(Object.keys(manifest['dependencies'] ?? {})).toEqual([]);
    expect(
      Object.keys(manifest['scripts'] ?? {}).filter((name) => /install|prepare/.test(name)),
    ).toEqual([]);
  });

  it('registers nothing for finalization, which Node 20 may not survive in a worker that is terminated', () => {
    const where = script.filter(
      (path) => path.startsWith('src/') && textOf(path).includes('new FinalizationRegistry'),
    );
    expect(where).toEqual([]);
  });

  it('opens every file with what it is', () => {
    const bare = filesWhere(rust, (text) => !text.startsWith('//!')).concat(
      filesWhere(script, (text, path) =>
        path === 'index.ts'
          ? !text.includes('* @packageDocumentation')
          : !/^(#!.*\n)?\/\*\*\s+(\* )?@file /.test(text),
      ),
    );
    expect(bare).toEqual([]);
  });
});

describe('crates', () => {
  it('point down', () => {
    const wrong: string[] = [];
    for (const crate of crates) {
      const manifest = textOf(`crates/${crate}/Cargo.toml`);
      const height = heights[crate] ?? Number.POSITIVE_INFINITY;
      for (const dependency of tableOf(manifest, 'dependencies').keys()) {
        if (!dependency.startsWith('heapwright-')) continue;
        const below = heights[dependency] ?? Number.POSITIVE_INFINITY;
        if (below >= height) wrong.push(`${crate} → ${dependency}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('keep the wrapped families out of heapwright-heap', () => {
    const heap = tableOf(textOf('crates/heapwright-heap/Cargo.toml'), 'dependencies');
    expect(heap.has('heapwright-allocators')).toBe(false);
  });

  it('use the testkit in tests only', () => {
    const users = crates.filter((crate) =>
      tableOf(textOf(`crates/${crate}/Cargo.toml`), 'dependencies').has('heapwright-testkit'),
    );
    expect(users).toEqual([]);
  });

  it.each(Object.entries(onlyIn))('name %s in %s only', (dependency, home) => {
    const users = crates.filter((crate) =>
      tableOf(textOf(`crates/${crate}/Cargo.toml`), 'dependencies').has(dependency),
    );
    expect(users).toEqual([home]);
  });

  it('say what each dependency is for', () => {
    const entries = tableOf(textOf('Cargo.toml'), 'workspace.dependencies');
    expect(entries.size).toBeGreaterThan(10);
    const silent = [...entries].filter(([, rest]) => !/# \S[^\n]*\.$/.test(rest));
    expect(silent.map(([name]) => name)).toEqual([]);
  });

  it('unwind in every profile, so that no panic can abort Node', () => {
    const manifest = textOf('Cargo.toml');
    for (const profile of ['profile.dev', 'profile.release']) {
      expect(tableOf(manifest, profile).get('panic')).toBe('"unwind"');
    }
    expect(manifest).not.toMatch(/panic\s*=\s*"abort"/);
  });
});

describe('unsafe', () => {
  const users = filesWhere(sourceRust, (text) => /\bunsafe\s*(\{|impl\b)/.test(bareRust(text)));

  it('is looked for where it is', () => {
    expect(users).toContain('crates/heapwright-region/src/os/unix.rs');
    expect(bareRust('unsafe {} // unsafe {\n"unsafe {"; \'"\'; unsafe {}')).toMatch(
      /^unsafe {} +\n +; +; unsafe {}$/,
    );
  });

  it('lives only where ARCHITECTURE.md lists it', () => {
    const places = placesOfUnsafe();
    expect(places).not.toEqual([]);
    const strays = users.filter(
      (path) => !places.some((place) => path === place || path.startsWith(`${place}/`)),
    );
    expect(strays).toEqual([]);
  });

  it('still lives at every place of the list', () => {
    const empty = placesOfUnsafe().filter(
      (place) => !users.some((path) => path === place || path.startsWith(`${place}/`)),
    );
    expect(empty).toEqual([]);
  });

  it('has no way to make memory executable', () => {
    expect(filesWhere(sourceRust, (text) => /PROT_EXEC/.test(bareRust(text)))).toEqual([]);
  });
});

describe('error codes', () => {
  const inTypeScript = codesIn(
    /export type AllocErrorCode =([^;]*);/.exec(textOf('src/errors.ts'))?.[1] ?? '',
  );

  it('are the same in Rust, but for the one that means there is no Rust', () => {
    const source = textOf('crates/heapwright-node/src/error.rs');
    const list = /STATUS_CODES[^=]*= \[([^\]]*)\]/.exec(source)?.[1] ?? '';
    expect(codesIn(list)).toEqual(inTypeScript.filter((code) => code !== 'ERR_NO_BINDING'));
  });

  it('each have their place in docs/errors.md', () => {
    const documented = textOf('docs/errors.md').matchAll(/^(?:#+ |\| )`?(ERR_[A-Z_]+)`?/gm);
    const codes = [...new Set([...documented].map(([, code]) => code!))].toSorted();
    expect(codes.filter((code) => code !== 'ERR_INVALID_ARG_TYPE')).toEqual(inTypeScript);
  });

  it('are spelled in one TypeScript file and from there on by type', () => {
    const known = new Set([...inTypeScript, 'ERR_INVALID_ARG_TYPE']);
    const unknown = filesBelow('src', '.ts').flatMap((path) =>
      [...textOf(path).matchAll(/'(ERR_[A-Z_]+)'/g)]
        .map(([, code]) => code!)
        .filter((code) => !known.has(code) && !isOfNode(code))
        .map((code) => `${path}: ${code}`),
    );
    expect(unknown).toEqual([]);
  });
});

describe('leftovers', () => {
  const own = '__test__/tidy.spec.ts';

  it('are gone from the sources', () => {
    const marks = /\b(FIXME|TODO|XXX|HACK)\b|\bdbg!\s*\(|\bdebugger;|\b(it|describe|test)\.only\(/;
    const found = filesWhere([...rust, ...script.filter((path) => path !== own)], (text) =>
      marks.test(text),
    );
    expect(found).toEqual([]);
  });

  it('are gone from the documents', () => {
    const documents = filesBelow('.', '.md').filter((path) => !path.startsWith('traces/'));
    expect(filesWhere(documents, (text) => /\b(FIXME|TODO|TBD)\b/.test(text))).toEqual([]);
  });
});

describe('lengths', () => {
  it('are mentioned where they pass what one can read at once', () => {
    const long: string[] = [];
    for (const path of [...sourceRust, ...filesBelow('src', '.ts')]) {
      const lines = textOf(path).split('\n');
      if (lines.length > 800) long.push(`${path} has ${lines.length} lines`);
      for (const { name, length } of functionsOf(lines)) {
        if (length > 70) long.push(`${path}: ${name} has ${length} lines`);
      }
    }
    for (const line of long) console.warn(`tidy: ${line}`);
    expect(functionsOf(['fn a() {', '    b();', '}'])).toEqual([{ name: 'a', length: 3 }]);
  });
});
