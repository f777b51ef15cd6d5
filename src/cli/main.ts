#!/usr/bin/env node
/**
 * @file The command `heapwright`: finds the subcommand, runs it, turns what it throws into an exit code.
 *
 * 0: done. 1: it failed (a file, the binding, a damaged trace). 2: it was called wrongly. One line on
 * standard error says why. A reader that closes the pipe early (`| head`) is no failure, and Ctrl-C ends
 * the process at once: nothing is ever half written, because files appear by a rename.
 */
import { AllocError } from '../errors.ts';
import { CliError, helpText, parseCommand } from './command.ts';
import { findCommand, overview } from './commands.ts';
import { warn } from './output.ts';

/** Runs the command line `args`; resolves to the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  try {
    if (name === undefined) {
      process.stderr.write(overview());
      return 2;
    }
    if (name === '--help' || name === '-h' || name === 'help') {
      const [topic] = rest;
      const command = topic === undefined ? undefined : findCommand(topic);
      process.stdout.write(command === undefined ? overview() : helpText(command));
      return 0;
    }
    const command = name === '--version' || name === '-v' ? findCommand('info') : findCommand(name);
    const { values, operands } = parseCommand(command, rest);
    if (values['help'] === true) {
      process.stdout.write(helpText(command));
      return 0;
    }
    return await command.run(values, operands);
  } catch (error) {
    warn(`heapwright: ${lineOf(error)}`);
    if (process.env['HEAPWRIGHT_STACK'] === '1') console.error(error);
    return error instanceof CliError ? error.exitCode : 1;
  }
}

function lineOf(error: unknown): string {
  if (error instanceof CliError) return error.message;
  if (error instanceof AllocError) return `${error.message} (${error.code})`;
  return `unexpected: ${error instanceof Error ? error.message : String(error)}`;
}

/** Leaves quietly when the reader of our output has gone. */
function endOnClosedPipe(stream: NodeJS.WriteStream): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

endOnClosedPipe(process.stdout);
endOnClosedPipe(process.stderr);
process.exitCode = await main(process.argv.slice(2));
