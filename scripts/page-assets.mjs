/**
 * @file Writes `src/inspect/page-assets.ts`: the chart library, the program and the style of the HTML
 * report as strings, so that a report needs no file and no package when it is made.
 *
 * `node scripts/page-assets.mjs` writes it; with `--check` it says whether the file is up to date (exit
 * code 1 if not), which `__test__/inspect.spec.ts` asks. uPlot is a development dependency only.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const read = (name) => readFileSync(new URL(name, root), 'utf8');

/** Comments and blank lines at the start of lines are for readers of the source, not of the page. */
function lean(text) {
  return text
    .replace(/^\/\*\*[\s\S]*?\*\/\n/u, '')
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^\s*(?:\/\/|\/\*.*\*\/$)/u.test(line))
    .map((line) => line.replace(/^\s+/u, ''))
    .join('\n');
}

const { version } = JSON.parse(read('node_modules/uplot/package.json'));
const assets = {
  UPLOT_NOTICE: `uPlot ${version}\n${read('node_modules/uplot/LICENSE').trim()}`,
  UPLOT_JS: read('node_modules/uplot/dist/uPlot.iife.min.js').trim(),
  UPLOT_CSS: read('node_modules/uplot/dist/uPlot.min.css').trim(),
  REPORT_JS: lean(read('src/inspect/page/report.js')),
  REPORT_CSS: lean(read('src/inspect/page/report.css')),
};
const text = `/**
 * @file What an HTML report is made of. DO NOT EDIT DIRECTLY: written by \`scripts/page-assets.mjs\` from
 * \`src/inspect/page/\` and the package uplot (MIT License, whose text goes into every report).
 */

${Object.entries(assets)
  .map(([name, value]) => `export const ${name}: string = ${JSON.stringify(value)};`)
  .join('\n')}
`;
const file = new URL('src/inspect/page-assets.ts', root);
if (process.argv.includes('--check')) {
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error('src/inspect/page-assets.ts is out of date: node scripts/page-assets.mjs');
    process.exitCode = 1;
  }
} else {
  writeFileSync(file, text);
}
