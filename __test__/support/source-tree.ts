/**
 * @file The files of the project as `tidy.spec.ts` looks at them: paths, texts, and Rust without its
 * comments, strings and unit tests.
 *
 * Not here: what is tested about them.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's root folder. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Folders that hold nothing of ours. */
const foreign = new Set(['node_modules', 'target', 'dist', 'coverage', 'compat', '.git', 'tmp']);

/** The text of the file at `path`, relative to the root. */
export function textOf(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** The paths of all files below `folder` whose name ends in one of `endings`, sorted. */
export function filesBelow(folder: string, ...endings: string[]): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = join(root, folder, entry.name);
    if (entry.isDirectory()) {
      if (!foreign.has(entry.name)) found.push(...filesBelow(relative(root, path), ...endings));
    } else if (endings.some((ending) => entry.name.endsWith(ending))) {
      found.push(relative(root, path).split(sep).join('/'));
    }
  }
  return found.toSorted();
}

/** Whether a Rust file holds tests only, or code of the benches. */
export function isTestOfRust(path: string): boolean {
  return /(^|\/)(tests|benches|examples)(\/|\.rs$)/.test(path);
}

/** Rust without comments, strings, characters, and the unit tests at its end. */
export function bareRust(text: string): string {
  const bare = text.replace(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\[^\n]+?|[^'\\\n])'/g,
    (match) => match.replace(/[^\n]/g, ' '),
  );
  const tests = /^#\[cfg\((?:test|all\(test)[^\n]*\]\n(?:#\[[^\n]*\]\n)*mod \w+ \{/m.exec(bare);
  return tests === null ? bare : bare.slice(0, tests.index);
}

/** The section of a Markdown text under the first heading that matches, without the heading. */
export function sectionOf(text: string, heading: RegExp): string {
  const lines = text.split('\n');
  const first = lines.findIndex((line) => /^#+ /.test(line) && heading.test(line));
  if (first < 0) return '';
  const depth = lines[first]!.indexOf(' ');
  const rest = lines.slice(first + 1);
  const end = rest.findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= depth);
  return rest.slice(0, end < 0 ? rest.length : end).join('\n');
}

/** A table of a Cargo manifest: key → what follows, with the comment behind it. */
export function tableOf(manifest: string, name: string): Map<string, string> {
  const start = manifest.indexOf(`\n[${name}]\n`);
  const entries = new Map<string, string>();
  if (start < 0) return entries;
  const table = manifest.slice(start + name.length + 4);
  const end = /^\[/m.exec(table)?.index ?? table.length;
  // An entry goes on over the lines that are indented, and the one that closes them.
  for (const entry of table
    .slice(0, end)
    .matchAll(/^([\w-]+)[^=\n]*=(.*(?:\n(?:[ \t]|[\]}]).*)*)/gm)) {
    entries.set(entry[1]!, entry[2]!.trim());
  }
  return entries;
}

/** The functions of formatted source: they end at the brace that is indented as they are. */
export function functionsOf(lines: string[]): { name: string; length: number }[] {
  const found: { name: string; length: number }[] = [];
  lines.forEach((line, first) => {
    const opening =
      /^(\s*)(?:(?:pub|pub\([^)]*\)|const|async|unsafe|extern "C"|export|default|static) )*(?:fn|function\*?) (\w+)/.exec(
        line,
      ) ?? /^( {2})(?:(?:async|static|override|private) )*(#?\w+)\([^;]*\{$/.exec(line);
    // A declaration without a body ends in a semicolon.
    const head = lines.slice(first).find((other) => /[{;]$/.test(other));
    if (opening === null || head?.endsWith(';') !== false) return;
    const end = lines.findIndex((other, at) => at > first && other === `${opening[1]!}}`);
    if (end >= 0) found.push({ name: opening[2]!, length: end - first + 1 });
  });
  return found;
}
