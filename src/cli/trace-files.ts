/**
 * @file Trace files: the five that come with the package, and those that a user names.
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { readTrace, TRACE_BYTES_MAX } from '../trace/format.ts';
import type { Trace } from '../trace/format.ts';
import { CliError } from './command.ts';
import { reasonOf } from './output.ts';

/** A trace and where it came from. */
export interface NamedTrace {
  /** The file's name without folder and ending. */
  readonly name: string;
  readonly file: string;
  readonly fileBytes: number;
  readonly trace: Trace;
}

/** The folder of the package: the nearest above this file that has the package's `package.json`. */
function packageFolder(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const above = path.dirname(folder);
    if (above === folder)
      throw new CliError('the folder of the package heapwright is not there', 1);
    folder = above;
  }
  return folder;
}

/** The traces that come with the package, by name. */
export function bundledTraces(): string[] {
  const folder = path.join(packageFolder(), 'traces');
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.hwt.gz'))
      .toSorted()
      .map((name) => path.join(folder, name));
  } catch (error) {
    throw new CliError(`cannot list the bundled traces: ${reasonOf(error)}`, 1, error);
  }
}

/** Reads a file of at most `bytesMax` bytes; a failure names the file and the reason. */
export function readInput(file: string, bytesMax: number = TRACE_BYTES_MAX): Buffer {
  try {
    const { size } = statSync(file);
    if (size > bytesMax) {
      throw new CliError(`${file} is larger than the limit of ${bytesMax} bytes: ${size}`, 1);
    }
    return readFileSync(file);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`cannot read ${file}: ${reasonOf(error)}`, 1, error);
  }
}

/** `file`, or the file of the package that a bare name stands for: `folder/NAME.extension`. */
export function findBundled(file: string, folder: string, extension: string): string {
  if (existsSync(file) || file.includes('/')) return file;
  const bundled = path.join(packageFolder(), folder, `${file}.${extension}`);
  return existsSync(bundled) ? bundled : file;
}

/** Reads a trace; a bundled one may be given by its bare name, like `sqlite`. */
export function readTraceFile(file: string): NamedTrace {
  const found = findBundled(file, 'traces', 'hwt.gz');
  const bytes = readInput(found);
  const name = path
    .basename(found)
    .replace(/\.gz$/u, '')
    .replace(/\.hwt$/u, '');
  try {
    return { name, file: found, fileBytes: bytes.length, trace: readTrace(bytes) };
  } catch (error) {
    throw new CliError(`${found}: ${(error as Error).message}`, 1, error);
  }
}
