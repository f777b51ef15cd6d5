/**
 * @file A terminal: tmux (Debian's `tmux`), which keeps the screen as a terminal would show it.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { RUN, folder } from './cli.ts';

/** A terminal: a tmux server of its own, one window. */
export class Terminal {
  readonly #socket: string;

  constructor(command: string, columns = 100, rows = 30) {
    this.#socket = path.join(folder, `tmux-${Math.trunc(performance.now())}`);
    this.#tmux([
      '-f',
      '/dev/null',
      'new-session',
      '-d',
      '-x',
      String(columns),
      '-y',
      String(rows),
      `cd ${folder}; ${command}; echo "ended with $?"; exec sleep 60`,
    ]);
  }

  keys(...keys: string[]): void {
    this.#tmux(['send-keys', ...keys]);
  }

  screen(): string {
    return this.#tmux(['capture-pane', '-p']);
  }

  async until(seen: RegExp): Promise<string> {
    for (let tries = 0; tries < 300; tries++) {
      const screen = this.screen();
      if (seen.test(screen)) return screen;
      await wait(100);
    }
    throw new Error(`${String(seen)} did not come; the screen is\n${this.screen()}`);
  }

  end(): void {
    this.#tmux(['kill-server']);
  }

  #tmux(args: readonly string[]): string {
    return execFileSync('tmux', ['-S', this.#socket, ...args], {
      encoding: 'utf8',
      env: { ...process.env, TERM: 'xterm-256color', XDG_RUNTIME_DIR: RUN },
    });
  }
}
