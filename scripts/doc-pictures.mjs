/**
 * @file Makes the pictures of docs/: real output of the command, in a real terminal and a real browser.
 *
 * `npm run build` first. Needs Debian's chromium and tmux. Pictures are looked at before they are committed;
 * they are not compared by a test, since fonts differ from machine to machine.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { chromium } from 'playwright-core';

const PICTURE_BYTES_MAX = 200_000;
const root = fileURLToPath(new URL('../', import.meta.url));
const main = path.join(root, 'dist/src/cli/main.js');
const folder = mkdtempSync(path.join(tmpdir(), 'heapwright-pictures-'));
const env = { ...process.env, XDG_RUNTIME_DIR: folder, TERM: 'xterm-256color', NO_COLOR: '1' };

const browser = await chromium.launch({
  executablePath: process.env.HEAPWRIGHT_CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-sync',
  ],
});

/** Takes a picture of what `selector` shows, and says how large the file is. */
async function shoot(page, selector, name) {
  const file = path.join(root, 'docs/pictures', `${name}.png`);
  await page.locator(selector).screenshot({ path: file });
  const { size } = statSync(file);
  console.log(`${name}.png: ${size} bytes`);
  if (size > PICTURE_BYTES_MAX)
    throw new Error(`${name}.png is larger than ${PICTURE_BYTES_MAX} bytes`);
}

/** The text of a terminal as a picture of one. */
async function shootTerminal(text, name) {
  const escaped = text.trimEnd().replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const page = await browser.newPage({ viewport: { width: 1500, height: 900 } });
  await page.setContent(
    `<style>body{margin:0}pre{display:inline-block;margin:0;padding:16px;background:#15181c;color:#e7e4de;font:14px/1.25 'DejaVu Sans Mono',monospace}</style><pre>${escaped}</pre>`,
  );
  await shoot(page, 'pre', name);
  await page.close();
}

/** What tmux shows after `command` ran and `keys` were sent one by one. */
async function screenOf(command, keys, columns, rows) {
  const tmux = (...args) =>
    execFileSync('tmux', ['-S', path.join(folder, 'tmux'), ...args], { encoding: 'utf8', env });
  tmux(
    '-f',
    '/dev/null',
    'new-session',
    '-d',
    '-x',
    String(columns),
    '-y',
    String(rows),
    `${command}; sleep 60`,
  );
  await wait(1500);
  for (const key of keys) {
    tmux('send-keys', key);
    await wait(300);
  }
  const text = tmux('capture-pane', '-p');
  tmux('kill-server');
  return text;
}

try {
  const command = `${process.execPath} ${main}`;
  const report = path.join(folder, 'report.html');
  const replayed = execFileSync(
    process.execPath,
    [main, 'replay', 'cc1', 'sqlite', '--report', report],
    { encoding: 'utf8', env },
  );
  await shootTerminal(
    `$ heapwright replay cc1 sqlite\n${replayed.split('\nThe report')[0]}`,
    'replay',
  );

  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(pathToFileURL(report).href);
  await page.waitForFunction('document.documentElement.dataset.ready');
  await shoot(page, 'section[aria-labelledby="table-title"]', 'report-table');
  await page.selectOption('#trace', { label: 'sqlite' });
  await shoot(page, '.grid', 'report-charts');
  await page.locator('#frame').fill('40');
  await shoot(page, '#maps', 'report-maps');
  await page.close();

  const scenario = path.join(root, 'examples/scenarios/remote-free.sim');
  const screen = await screenOf(
    `cd ${root} && ${command} simulate ${path.relative(root, scenario)} --step`,
    ['n', 'n', 'n', 'n'],
    110,
    22,
  );
  await shootTerminal(screen, 'simulate');

  const service = spawn(process.execPath, [path.join(root, 'scripts/doc-pictures-service.mjs')], {
    env: { ...env, HEAPWRIGHT_PUBLISH: '1' },
    stdio: 'ignore',
  });
  await wait(1500);
  const top = await screenOf(`${command} top`, [], 110, 24);
  service.kill();
  await shootTerminal(top, 'top');
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
