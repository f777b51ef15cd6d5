/**
 * @file `npm start`: installs and builds if needed, then runs the `heapwright` command.
 *
 * Without arguments it does the main job: `heapwright replay` over the recorded traces of traces/,
 * through every byte kind. Arguments after `--` go to the command as they are.
 */
import { prepare, run } from './steps.mjs';

prepare();
const args = process.argv.slice(2);
process.exit(
  run(process.execPath, ['dist/src/cli/main.js', ...(args.length > 0 ? args : ['replay'])]),
);
