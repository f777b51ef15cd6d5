/**
 * @file The package as users get it: packed, installed into an empty folder, imported and required.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root, runFile } from './support/child.ts';

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

let folder: string;
let paths: string[];

/** npm, quietly and without the network. */
function npm(cwd: string, ...args: string[]): string {
  return execFileSync(
    'npm',
    [...args, '--offline', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd,
      encoding: 'utf8',
    },
  );
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heapwright-package-'));
  const [packed] = JSON.parse(npm(root, 'pack', '--json', '--pack-destination', folder)) as [
    Packed,
  ];
  paths = packed.files.map(({ path }) => path);
  const user = join(folder, 'user');
  mkdirSync(user);
  writeFileSync(join(user, 'package.json'), '{ "name": "user", "private": true }');
  npm(user, 'install', join(folder, packed.filename));
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program of the user. */
async function run(name: string, source: string): Promise<string> {
  const file = join(folder, 'user', name);
  writeFileSync(file, source);
  const { code, signal, stdout, stderr } = await runFile(file, { cwd: join(folder, 'user') });
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  return stdout;
}

const USE = `
  const tlsf = createAllocator({ kind: 'tlsf', start: 0x10_0000, size: MiB(1) });
  const p = tlsf.alloc(1024, 16);
  tlsf.view(p, 4).set([1, 2, 3, 4]);
  console.log(p % 16, tlsf.view(p, 4).join(), features().version);
  tlsf.close();
`;

describe('the packed package', () => {
  it('carries the binary of this platform, the front and its types, and no sources', () => {
    expect(paths.filter((path) => path.endsWith('.node'))).toEqual([
      'native/heapwright.linux-x64-gnu.node',
    ]);
    const wanted = [
      'dist/index.js',
      'index.d.ts',
      'native/binding.cjs',
      'dist/native/layout.js',
      'LICENSE',
      'README.md',
      'package.json',
      'dist/src/cli/main.js',
      'traces/jq.hwt.gz',
      'examples/scenarios/rounding.sim',
    ];
    expect(paths).toEqual(expect.arrayContaining(wanted));
    expect(
      paths.filter(
        (path) =>
          /^(?:crates|__test__|src|scripts|benches|examples(?!\/scenarios\/)|node_modules)\//u.test(
            path,
          ) || /\.(?:rs|tgz)$/u.test(path),
      ),
    ).toEqual([]);
    expect(
      paths.filter(
        (path) => path.startsWith('dist/') && !/^dist\/(?:index|src|native)/u.test(path),
      ),
    ).toEqual([]);
  });

  it('runs nothing at install and depends on nothing', () => {
    const manifest = JSON.parse(
      readFileSync(join(folder, 'user/node_modules/heapwright/package.json'), 'utf8'),
    ) as {
      scripts?: Record<string, string>;
      dependencies?: object;
    };
    for (const script of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']) {
      expect(manifest.scripts?.[script]).toBeUndefined();
    }
    expect(manifest.dependencies).toBeUndefined();
  });

  it('is imported', async () => {
    const source = `import { MiB, createAllocator, features } from 'heapwright';\n${USE}`;
    expect(await run('import.mjs', source)).toMatch(/^0 1,2,3,4 \d+\.\d+\.\d+\n$/);
  });

  it('is required, as one and the same module', async () => {
    const source = `
      const { MiB, createAllocator, features, AllocError } = require('heapwright');
      ${USE}
      import('heapwright').then((module) => console.log(module.AllocError === AllocError));
    `;
    expect(await run('require.cjs', source)).toMatch(/^0 1,2,3,4 \S+\ntrue\n$/);
  });

  it('exports itself and its manifest, nothing below', async () => {
    const source = `
      const tried = await Promise.allSettled(['heapwright/package.json', 'heapwright/dist/index.js', 'heapwright/native/binding.cjs'].map(async (name) => import.meta.resolve(name)));
      console.log(tried.map(({ status, reason }) => reason?.code ?? status).join());
    `;
    expect(await run('exports.mjs', source)).toBe(
      'fulfilled,ERR_PACKAGE_PATH_NOT_EXPORTED,ERR_PACKAGE_PATH_NOT_EXPORTED\n',
    );
  });

  it('brings the heapwright command', () => {
    const bin = join(folder, 'user/node_modules/.bin/heapwright');
    expect(existsSync(bin)).toBe(true);
    const text = execFileSync(bin, ['--help'], { cwd: folder, encoding: 'utf8' });
    expect(text).toContain('replay');
  });

  it('is understood by a TypeScript user', () => {
    const user = join(folder, 'user');
    writeFileSync(
      join(user, 'user.mts'),
      `import { createAllocator, type TlsfByteAllocator } from 'heapwright';\nexport const a: TlsfByteAllocator = createAllocator({ kind: 'tlsf', size: 4096 });\n`,
    );
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const args = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--lib',
      'es2023,esnext.disposable',
      '--typeRoots',
      join(root, 'node_modules/@types'),
      '--types',
      'node',
      'user.mts',
    ];
    expect(execFileSync(process.execPath, [tsc, ...args], { cwd: user, encoding: 'utf8' })).toBe(
      '',
    );
  });
});
