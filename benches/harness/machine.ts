/** @file What stands beside every result: the machine, its settings, and the versions. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { root } from './build.ts';

/** A description of the machine. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly transparentHugePages: string;
  readonly node: string;
  readonly v8: string;
  readonly rustc: string;
  readonly glibc: string;
  readonly commit: string;
  /** The load average when the run began: above a fraction of a core, something else ran. */
  readonly load: number;
}

function output(command: string, args: readonly string[]): string {
  const { stdout, status } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'unknown';
}

/** The setting in brackets, as the kernel prints it. */
function hugePages(): string {
  const file = '/sys/kernel/mm/transparent_hugepage/enabled';
  if (!existsSync(file)) return 'none';
  return /\[(\w+)\]/.exec(readFileSync(file, 'utf8'))?.[1] ?? 'unknown';
}

/**
 * Describes this machine.
 *
 * @param node - The Node that runs the JavaScript paths.
 */
export function describeMachine(node: string): Machine {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    transparentHugePages: hugePages(),
    node: output(node, ['--print', 'process.versions.node']),
    v8: output(node, ['--print', 'process.versions.v8']),
    rustc: output('rustc', ['--version']).split(' ')[1] ?? 'unknown',
    glibc: header.glibcVersionRuntime ?? 'unknown',
    commit: output('git', ['rev-parse', '--short', 'HEAD']),
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}

/** The description in one line. */
export function machineLine(machine: Machine): string {
  return `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, transparent huge pages: ${machine.transparentHugePages}, Node ${machine.node} (V8 ${machine.v8}), glibc ${machine.glibc}, rustc ${machine.rustc}, load ${machine.load}`;
}
