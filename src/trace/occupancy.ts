/**
 * @file A heap map that is kept up to date event by event: how full each stretch of the range is.
 *
 * ```text
 * range   |<--------------------- span ---------------------->|       never touched
 * cells   [0][1][2][3] ...                              [1023]
 * ```
 *
 * The number of cells is fixed, the bytes of a cell double when an address beyond the last cell comes:
 * neighbours are added together, in the frames taken earlier too. So the map of a small trace is as
 * fine as that of a large one, and nobody needs to know the span beforehand.
 *
 * Cost: a block touches as many cells as it covers; folding is rare (log2 of the span times).
 * Not here: single blocks. A snapshot has those.
 */

/** One picture of the range: how full each cell is. */
export interface MapFrame {
  /** Events done when the picture was taken. */
  readonly event: number;
  /** One hexadecimal digit per cell from the start of the range: 0 empty, f full. Empty tail left out. */
  readonly cells: string;
}

/** The pictures of a replay. */
export interface HeapMap {
  /** First address of the range. */
  readonly start: number;
  /** Bytes that a cell stands for. */
  readonly cellBytes: number;
  readonly frames: readonly MapFrame[];
}

const LEVELS = 15;
const CELL_BYTES_MIN = 64;

/** Live bytes by cell, with the frames taken so far. */
export class Occupancy {
  readonly #start: number;
  readonly #cells: Float64Array;
  #cellBytes = CELL_BYTES_MIN;
  readonly #frames: { event: number; cells: Float32Array }[] = [];

  constructor(start: number, cells: number) {
    this.#start = start;
    this.#cells = new Float64Array(cells);
  }

  add(pos: number, size: number): void {
    this.#change(pos, size, 1);
  }

  remove(pos: number, size: number): void {
    this.#change(pos, size, -1);
  }

  takeFrame(event: number): void {
    this.#frames.push({ event, cells: Float32Array.from(this.#cells) });
  }

  finish(): HeapMap {
    const frames = this.#frames.map(({ event, cells }) => {
      let text = '';
      for (const bytes of cells) {
        // A cell with anything in it is never shown empty, nor a cell with a gap full.
        const share = bytes / this.#cellBytes;
        const level = share <= 0 ? 0 : share >= 1 ? LEVELS : 1 + Math.floor(share * (LEVELS - 1));
        text += level.toString(16);
      }
      return { event, cells: text.replace(/0+$/u, '') };
    });
    return { start: this.#start, cellBytes: this.#cellBytes, frames };
  }

  #change(pos: number, size: number, sign: number): void {
    const cells = this.#cells;
    const from = pos - this.#start;
    const end = from + size;
    while (end > cells.length * this.#cellBytes) this.#fold();
    const cellBytes = this.#cellBytes;
    let cell = Math.floor(from / cellBytes);
    for (let at = from; at < end; cell++) {
      const next = Math.min(end, (cell + 1) * cellBytes);
      cells[cell] = (cells[cell] as number) + sign * (next - at);
      at = next;
    }
  }

  #fold(): void {
    this.#cellBytes *= 2;
    foldPairs(this.#cells);
    for (const { cells } of this.#frames) foldPairs(cells);
  }
}

function foldPairs(cells: Float64Array | Float32Array): void {
  const half = cells.length / 2;
  for (let i = 0; i < half; i++) {
    cells[i] = (cells[2 * i] as number) + (cells[2 * i + 1] as number);
  }
  cells.fill(0, half);
}
