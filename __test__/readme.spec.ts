/**
 * @file Every TypeScript sample of README.md compiles under the strictest settings and runs as it is.
 *
 * A sample may say what it prints: a comment `// → text` at the end of a `console.log` line is compared
 * with that line of its output.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root, runFile } from './support/child.ts';

const text = readFileSync(join(root, 'README.md'), 'utf8');
const samples = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gmu)].map(([, source], index) => ({
  name: `sample-${index + 1}`,
  source: source as string,
  line: text.slice(0, text.indexOf(source as string)).split('\n').length,
}));
// Inside the project, so that 'heapwright' is found as a package finds itself.
const folder = join(root, 'tmp/readme');

beforeAll(() => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const { name, source } of samples) {
    const imports = source.includes("from 'heapwright'") ? '' : 'export {};\n';
    writeFileSync(join(folder, `${name}.ts`), imports + source);
  }
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: {
      noEmit: false,
      outDir: 'out',
      rootDir: '.',
      noUnusedLocals: false,
      paths: {},
    },
    include: ['*.ts'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '-p', folder], {
    cwd: root,
    encoding: 'utf8',
    stdio: 'pipe',
  });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('README.md', () => {
  it('has samples', () => {
    expect(samples.length).toBeGreaterThanOrEqual(5);
  });

  it.each(samples)('$name, line $line, runs', async ({ name, source }) => {
    const { code, signal, stdout, stderr } = await runFile(join(folder, 'out', `${name}.js`), {
      cwd: root,
    });
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
    const said = [...source.matchAll(/\/\/ → (.*)$/gmu)].map(([, output]) => output);
    if (said.length > 0) expect(stdout.trimEnd().split('\n')).toEqual(said);
  });
});
