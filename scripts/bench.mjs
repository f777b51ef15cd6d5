/**
 * @file `npm run bench`: builds what is older than its sources, then runs `benches/run.ts` with the arguments given.
 */
import { prepare, run } from './steps.mjs';

prepare();
process.exit(run(process.execPath, ['dist/benches/run.js', ...process.argv.slice(2)]));
