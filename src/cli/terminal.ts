/**
 * @file A full screen in the terminal, for `top` and `simulate --step`: keys in, lines out.
 *
 * The alternate screen is entered and left again whatever happens: on a key that ends it, Ctrl-C, a
 * signal, an exception or the end of the process. Lines are cut to the width of the terminal, and a
 * frame is written in one piece, so nothing flickers.
 */
import { emitKeypressEvents } from 'node:readline';

import { CliError } from './command.ts';

const ENTER = '\u001B[?1049h\u001B[?25l';
const LEAVE = '\u001B[?25h\u001B[?1049l';
/** Ctrl-C, as shells report it. */
const EXIT_INTERRUPTED = 130;

/** A key, by name: `n`, `right`, `space`, `q` … */
export type KeyHandler = (key: string) => void;

/** A screen that is being shown. */
export class Screen {
  readonly #onKey: KeyHandler;
  readonly #onResize: () => void;
  #left = false;
  readonly #leaveAtExit = (): void => this.leave();
  readonly #interrupted = (): void => {
    this.leave();
    process.exit(EXIT_INTERRUPTED);
  };

  /** Enters the screen. Throws where standard input or output is no terminal. */
  constructor(onKey: KeyHandler, onResize: () => void) {
    const { stdin, stdout } = process;
    if (stdin.isTTY !== true || stdout.isTTY !== true) {
      throw new CliError('this view needs a terminal; --json works without one', 1);
    }
    this.#onKey = onKey;
    this.#onResize = onResize;
    stdout.write(ENTER);
    process.on('exit', this.#leaveAtExit);
    process.on('SIGINT', this.#interrupted);
    process.on('SIGTERM', this.#interrupted);
    emitKeypressEvents(stdin);
    stdin.setRawMode(true);
    stdin.on('keypress', this.#pressed);
    stdout.on('resize', this.#onResize);
    stdin.resume();
  }

  readonly #pressed = (text: string | undefined, key: { name?: string; ctrl?: boolean }): void => {
    if (key.ctrl === true && key.name === 'c') this.#interrupted();
    else this.#onKey(key.name ?? text ?? '');
  };

  get columns(): number {
    return process.stdout.columns ?? 80;
  }

  get rows(): number {
    return process.stdout.rows ?? 24;
  }

  /** Shows `lines`, cut to the screen. */
  show(lines: readonly string[]): void {
    const shown = lines.slice(0, this.rows).map((line) => cut(line, this.columns));
    process.stdout.write(`\u001B[H${shown.map((line) => `${line}\u001B[K`).join('\r\n')}\u001B[J`);
  }

  /** Gives the terminal back as it was. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    const { stdin, stdout } = process;
    stdin.off('keypress', this.#pressed);
    stdout.off('resize', this.#onResize);
    process.off('exit', this.#leaveAtExit);
    process.off('SIGINT', this.#interrupted);
    process.off('SIGTERM', this.#interrupted);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    stdout.write(LEAVE);
  }
}

// oxlint-disable-next-line no-control-regex -- escape sequences are what this looks for
const ESCAPE = /\u001B\[[\d;]*m/gu;

/** The first `width` letters of a line, its escape sequences not counted. */
function cut(line: string, width: number): string {
  if (line.replace(ESCAPE, '').length <= width) return line;
  let shown = '';
  let length = 0;
  let at = 0;
  for (const match of line.matchAll(ESCAPE)) {
    const text = line.slice(at, match.index).slice(0, width - length);
    shown += text + match[0];
    length += text.length;
    at = match.index + match[0].length;
  }
  return shown + line.slice(at).slice(0, width - length);
}
