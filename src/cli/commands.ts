/**
 * @file The list of subcommands: the one place that knows them all.
 */
import { usageError } from './command.ts';
import type { Command } from './command.ts';
import { completionCommand } from './completion.ts';
import { infoCommand } from './info.ts';
import { replayCommand } from './replay.ts';
import { reportCommand } from './report.ts';
import { simulateCommand } from './simulate.ts';
import { snapshotCommand } from './snapshot.ts';
import { topCommand } from './top.ts';
import { traceCommand } from './trace.ts';

/** In the order of the overview. */
export const COMMANDS: readonly Command[] = [
  replayCommand,
  traceCommand,
  snapshotCommand,
  reportCommand,
  simulateCommand,
  topCommand,
  infoCommand,
  completionCommand(() => COMMANDS),
];

/** The command called `name`, or a usage error. */
export function findCommand(name: string): Command {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const known = COMMANDS.map((candidate) => candidate.name).join(', ');
    throw usageError(`unknown command '${name}'; known are ${known}`);
  }
  return command;
}

/** What `heapwright --help` prints. */
export function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  const lines = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Usage: heapwright COMMAND [options]

Allocators from Rust, seen from outside: replay traces, look into ranges, compare kinds.

Commands:
${lines.join('\n')}

Every command takes --json and --help. Exit codes: 0 done, 1 failed, 2 called wrongly.
NO_COLOR switches colors off.
`;
}
