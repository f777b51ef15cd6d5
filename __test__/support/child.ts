/**
 * @file Programs in processes of their own: what may crash, hang, exit or be killed.
 *
 * A child imports the built package (`dist/`), as a user does, since Node 20 runs no TypeScript.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The project's root folder. */
export const root: string = fileURLToPath(new URL('../..', import.meta.url));

/** How a child ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a child may be given. */
export interface ChildOptions {
  readonly args?: readonly string[];
  /** For node itself, as `--expose-gc`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
}

/** Runs a JavaScript file in a process of its own. A child that takes too long is killed: SIGKILL. */
export function runFile(file: string, options: ChildOptions = {}): Promise<Ending> {
  return runNode([...(options.flags ?? []), file, ...(options.args ?? [])], options);
}

/** Runs a module given as text; `heapwright` is imported as `api` for it. */
export function runModule(source: string, options: ChildOptions = {}): Promise<Ending> {
  const text = `import * as api from ${JSON.stringify(`file://${root}dist/index.js`)};\n${source}`;
  return runNode([...(options.flags ?? []), '--input-type=module', '-e', text], options);
}

function runNode(args: readonly string[], options: ChildOptions): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      timeout: options.timeoutMs ?? 20_000,
      killSignal: 'SIGKILL',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Runs `jobs` with at most `limit` of them under way. */
export async function atMost<T, R>(
  limit: number,
  jobs: readonly T[],
  run: (job: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < jobs.length) {
      const index = next;
      next += 1;
      results[index] = await run(jobs[index] as T);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
