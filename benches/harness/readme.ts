/**
 * @file Writes the generated part of `benches/README.md` from the records: everything between the two markers.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from '../suite/index.ts';
import { machineLine } from './machine.ts';
import { fileName, loadRecord, type WorkloadRecord } from './record.ts';
import {
  crossingLine,
  figuresTable,
  show,
  showLimit,
  spreadLine,
  targetsTable,
  verdict,
  warnings,
} from './table.ts';

const BEGIN = '<!-- results: begin (written by `npm run bench`, do not edit) -->';
const END = '<!-- results: end -->';

/** Every target of every record in one table. */
function overview(records: readonly WorkloadRecord[]): string {
  const rows = records.flatMap((record) =>
    record.targets.map(
      (target) =>
        `| [${record.id}](#${anchor(record)}) | ${target.name} | ${show(target.figure)} | ${showLimit(target)} | ${verdict(target)} |`,
    ),
  );
  return ['| | target | measured | limit | |', '| --- | --- | ---: | ---: | --- |', ...rows].join(
    '\n',
  );
}

function anchor({ id, title }: { id: string; title: string }): string {
  return `${id} ${title}`
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} -]/gu, '')
    .replaceAll(' ', '-');
}

function section(folder: string, record: WorkloadRecord, shows: string): string {
  const picture = existsSync(join(folder, `${fileName(record.id)}.svg`))
    ? [`![${record.id}: ${record.title}](results/${fileName(record.id)}.svg)`, '']
    : [];
  return [
    `### ${record.id} ${record.title}`,
    '',
    `${shows} In ${record.unit}; ${record.quick ? 'a quick run, not a record' : `${record.rounds} rounds`}.`,
    '',
    ...picture,
    figuresTable(record, true),
    '',
    ...(record.targets.length > 0 ? [targetsTable(record, true), ''] : []),
    spreadLine(record),
    crossingLine(record),
    ...warnings(record).map((line) => `- ${line}`),
    '',
  ]
    .filter((line, index, all) => line !== '' || all[index - 1] !== '')
    .join('\n');
}

/** The generated text. */
export function generated(folder: string): string {
  const records = suite
    .map(({ id }) => loadRecord(folder, id))
    .filter((record) => record !== undefined);
  const [first] = records;
  if (first === undefined) return 'No run is recorded yet.';
  const targets = records.flatMap((record) => record.targets);
  const met = targets.filter((target) => target.met === true).length;
  const missed = targets.filter((target) => target.met === false && !target.goal).length;
  const beyond = targets.filter((target) => target.met === false && target.goal).length;
  const notRun = targets.length - met - missed - beyond;
  const sections = suite.map((workload) => {
    const record = loadRecord(folder, workload.id);
    if (record !== undefined) return section(folder, record, workload.shows);
    const reason =
      workload.waits === undefined ? 'No run is recorded yet.' : `Waits for ${workload.waits}.`;
    return `### ${workload.id} ${workload.title}\n\n${workload.shows} ${reason}\n`;
  });
  return [
    `Recorded ${first.date.slice(0, 10)} at commit ${first.machine.commit}: ${machineLine(first.machine)}.`,
    '',
    `${met} targets met, ${missed} missed, ${beyond} goals not reached, ${notRun} not run.`,
    '',
    overview(records),
    '',
    ...sections,
  ].join('\n');
}

/** Puts `text` between the markers of `file`. */
export function writeGenerated(file: string, text: string): void {
  const whole = readFileSync(file, 'utf8');
  const begin = whole.indexOf(BEGIN);
  const end = whole.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${file} has no place for results`);
  writeFileSync(file, `${whole.slice(0, begin + BEGIN.length)}\n\n${text}\n${whole.slice(end)}`);
}
