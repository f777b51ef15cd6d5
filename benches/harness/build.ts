/**
 * @file Builds what a run needs beside `dist/`: the native binary, the bench addon, and the heap without its check.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeUnchecked } from './unchecked.ts';

/** Where everything is. */
export interface Binaries {
  readonly native: string;
  readonly addon: string;
  /** The Node that runs the JavaScript paths. */
  readonly node: string;
  /** The folder of the built `*.bench.js`. */
  readonly modules: string;
  /** The entry of the heap without its check; undefined where it cannot be made. */
  readonly unchecked: string | undefined;
}

/** The root folder of the project, from `dist/benches/harness/`. */
export const root: string = fileURLToPath(new URL('../../../', import.meta.url));

interface CargoMessage {
  readonly reason: string;
  readonly executable?: string | null;
  readonly filenames?: readonly string[];
  readonly target?: { readonly name: string };
}

/**
 * Runs cargo, and answers where the two artifacts lie.
 *
 * @param node - Another Node than this one, for the JavaScript paths.
 */
export function build(node: string = process.execPath): Binaries {
  const packages = ['-p', 'heapwright-bench-native', '-p', 'heapwright-bench-addon'];
  const { status, stdout, error } = spawnSync(
    'cargo',
    ['build', '--release', '--locked', ...packages, '--message-format=json-render-diagnostics'],
    { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 2 ** 28 },
  );
  if (error) throw new Error(`cannot run cargo: ${error.message}`);
  if (status !== 0) throw new Error(`cargo build ended with ${status}`);
  let [native, addon] = ['', ''];
  for (const line of stdout.split('\n')) {
    if (!line.startsWith('{')) continue;
    const message = JSON.parse(line) as CargoMessage;
    if (message.reason !== 'compiler-artifact') continue;
    const name = message.target?.name.replaceAll('-', '_');
    if (name === 'heapwright_bench_native' && message.executable) native = message.executable;
    if (name === 'heapwright_bench_addon') {
      addon = message.filenames?.find((file) => /\.(so|dylib|dll)$/.test(file)) ?? '';
    }
  }
  if (native === '' || addon === '') throw new Error('cargo named no binary and no addon');
  const linked = spawnSync(native, ['linked'], { encoding: 'utf8' });
  assertPeersApart(linked.stdout);
  const modules = dirname(dirname(fileURLToPath(import.meta.url)));
  return { native, addon, node, modules, unchecked: makeUnchecked(join(root, 'dist')) };
}

/** What `linked` prints of a peer. */
interface LinkedPeer {
  readonly peer: string;
  readonly malloc: number;
  readonly free: number;
  readonly block: number;
  readonly served: boolean;
}

/**
 * Throws unless four peers are linked, each with functions of its own, and each served a block.
 *
 * @param text - What the binary prints for `linked`.
 * @returns The names of the peers.
 */
export function assertPeersApart(text: string): string[] {
  const peers = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LinkedPeer);
  if (peers.length !== 4) throw new Error(`4 peers must be linked, found ${peers.length}`);
  for (const key of ['peer', 'malloc', 'free', 'block'] as const) {
    if (new Set(peers.map((peer) => peer[key])).size !== peers.length) {
      throw new Error(`two peers share a ${key}`);
    }
  }
  const idle = peers.find(({ served }) => !served);
  if (idle !== undefined) throw new Error(`${idle.peer} served no block`);
  return peers.map(({ peer }) => peer);
}
