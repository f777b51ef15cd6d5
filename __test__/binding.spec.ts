/**
 * @file A native binary that is missing, foreign or of another version: `ERR_NO_BINDING`, not a riddle.
 */
import { copyFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root, runFile, runModule } from './support/child.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heapwright-binding-'));
  // A copy of the package without its binary.
  for (const name of ['dist', 'package.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  cpSync(join(root, 'native/binding.cjs'), join(folder, 'native/binding.cjs'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PROGRAM = `
  import { createAllocator, features, AllocError, KiB } from './dist/index.js';
  if (KiB(1) !== 1024) throw new Error('the package must be usable as far as it can');
  for (const call of [features, () => createAllocator({ size: 2 ** 20 })]) {
    try {
      call();
      throw new Error('loaded');
    } catch (error) {
      if (!(error instanceof AllocError)) throw error;
      console.log(JSON.stringify([error.code, error.message, error.cause === undefined ? '' : String(error.cause.message)]));
    }
  }
`;

async function failures(
  env: Record<string, string> = {},
): Promise<[code: string, message: string, cause: string][]> {
  const file = join(folder, 'program.mjs');
  writeFileSync(file, PROGRAM);
  const { code, signal, stdout, stderr } = await runFile(file, { cwd: folder, env });
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as [string, string, string]);
}

describe('ERR_NO_BINDING', () => {
  it('names platform, architecture, libc, the paths tried and the cause', async () => {
    const all = await failures();
    expect(all.length).toBe(2);
    for (const [code, message, cause] of all) {
      expect(code).toBe('ERR_NO_BINDING');
      expect(message).toContain(`platform ${process.platform}, arch ${process.arch}`);
      expect(message).toMatch(/libc (gnu|musl)/);
      expect(message).toContain('native/heapwright.');
      expect(message).toContain('npm run build');
      expect(cause).not.toBe('');
    }
  });

  it('says the same of a file that is no addon', async () => {
    const file = join(folder, 'foreign.node');
    writeFileSync(file, 'not an addon');
    const [[code, message]] = (await failures({ NAPI_RS_NATIVE_LIBRARY_PATH: file })) as [
      [string, string, string],
    ];
    expect(code).toBe('ERR_NO_BINDING');
    expect(message).toContain(file);
  });

  it('says the same of a module that is not ours', async () => {
    const file = join(folder, 'other.cjs');
    writeFileSync(file, 'module.exports = { add: (a, b) => a + b };');
    copyFileSync(join(root, 'native/binding.cjs'), join(folder, 'native/kept.cjs'));
    writeFileSync(
      join(folder, 'native/binding.cjs'),
      `module.exports = require(${JSON.stringify(file)});`,
    );
    const [[code, message]] = (await failures()) as [[string, string, string]];
    copyFileSync(join(folder, 'native/kept.cjs'), join(folder, 'native/binding.cjs'));
    expect(code).toBe('ERR_NO_BINDING');
    expect(message).toMatch(/not of this version/);
  });

  it('is not met before the first use', async () => {
    const result = await runModule('if (api.MiB(1) !== 2 ** 20) throw new Error();', {
      env: { NAPI_RS_NATIVE_LIBRARY_PATH: '/nowhere' },
    });
    expect(result).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
  });

  it('loads where the permission model forbids addons as an error with its reason', async () => {
    // The name since Node 23.5, and the one before.
    const known = process.allowedNodeEnvironmentFlags;
    const flag = known.has('--permission') ? '--permission' : '--experimental-permission';
    const source =
      'try { api.features(); } catch (error) { console.log(error.code, error.cause?.message ?? ""); }';
    const { stdout } = await runModule(source, {
      flags: [flag, '--allow-fs-read=*'],
    });
    expect(stdout).toMatch(/^ERR_NO_BINDING /);
  });
});
