/**
 * @file `heapwright info`: what this build contains and where it runs.
 */
import { features } from '../create-allocator.ts';
import { usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, putJson } from './output.ts';

export const infoCommand: Command = {
  name: 'info',
  summary: 'Show version, kinds, Cargo features and backend of this build',
  operands: '[options]',
  description: `
Shows what this build contains: kinds, Cargo features, how buffers over native memory are made
(external, or shared where the runtime forbids external ones), and the runtime it was asked in.`,
  options: {},
  examples: [['heapwright info --json', 'The same for programs.']],
  run: runInfo,
};

function runInfo(values: OptionValues, operands: readonly string[]): number {
  if (operands.length > 0) throw usageError(`info takes no operand, got '${operands[0]}'`);
  const { version, kinds, cargo, backend } = features();
  const { arch, platform, version: node } = process;
  const { json } = values;
  if (typeof json === 'string') {
    putJson({ version, kinds, cargo, backend, node, platform, arch }, json);
    return 0;
  }
  print(
    `heapwright ${version}\n` +
      `  kinds    ${kinds.join(', ')}\n` +
      `  cargo    ${cargo.join(', ')}\n` +
      `  backend  ${backend}\n` +
      `  runtime  Node ${node} on ${platform} ${arch}\n`,
  );
  return 0;
}
