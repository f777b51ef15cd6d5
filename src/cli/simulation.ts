/**
 * @file Runs a scenario on a real allocator, one step at a time, and says what happened.
 *
 * Everything is deterministic, so going back is running again from the start to the step before.
 * A refusal of the allocator is an outcome of a step, not a failure of the run.
 */
import { createAllocator } from '../create-allocator.ts';
import { AllocError } from '../errors.ts';
import { Heap } from '../heap.ts';
import { explain } from '../inspect/explain.ts';
import { snapshot } from '../inspect/snapshot.ts';
import type { Snapshot } from '../inspect/snapshot.ts';
import { bytesText, countText } from '../inspect/text.ts';
import { CliError, usageError } from './command.ts';
import type { Scenario, Step } from './scenario.ts';

/** What one step did. */
export interface StepOutcome {
  /** From 1; 0 is the state before the first step. */
  readonly index: number;
  readonly step: Step | undefined;
  /** In one line: `a = 0x100040`, or why it was refused. */
  readonly result: string;
  readonly refused: boolean;
  /** What the allocator did, in words. */
  readonly words: readonly string[];
  readonly snapshot: Snapshot;
  /** Where it happened, if anywhere: address and size of the block. */
  readonly touched?: { readonly pos: number; readonly size: number };
}

/** The calls of all kinds; which of them are there depends on the kind. */
interface AnyAllocator {
  alloc?(size: number, align?: number): number;
  allocZeroed?(size: number, align?: number): number;
  realloc?(pos: number, size: number): number;
  dealloc?(pos: number): void;
  free?(pos: number): void;
  allocPages?(count: number, align?: number): number;
  allocPagesAt?(base: number, count: number, align?: number): number;
  allocPagesLowmem?(count: number, align?: number): number;
  deallocPages?(pos: number): void;
  allocId?(count: number, align?: number): number;
  allocFixedId?(id: number): void;
  deallocId?(start: number): void;
  addMemory?(start: number, size: number): void;
  trim?(): number;
  adopt?(from: number, to: number): void;
  cpu?(index: number): {
    alloc(size: number, align?: number): number;
    dealloc(pos: number): void;
    drainRemoteFrees(): number;
  };
  stats(): object;
  close(): void;
}

interface NamedBlock {
  readonly pos: number;
  readonly size: number;
  readonly unit: 'bytes' | 'pages' | 'ids';
}

/** A scenario under way. */
export class Simulation {
  readonly scenario: Scenario;
  readonly #allocator: AnyAllocator;
  readonly #blocks = new Map<string, NamedBlock>();
  #last: StepOutcome;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.#allocator = open(scenario);
    this.#last = {
      index: 0,
      step: undefined,
      result: 'nothing has happened yet',
      refused: false,
      words: [],
      snapshot: snapshot(this.#allocator),
    };
  }

  /** The outcome of the last step done. */
  get last(): StepOutcome {
    return this.#last;
  }

  /** Is there a step left? */
  get done(): boolean {
    return this.#last.index >= this.scenario.steps.length;
  }

  /** Does the next step. */
  next(): StepOutcome {
    const { index, snapshot: before } = this.#last;
    const step = this.scenario.steps[index] as Step;
    let result: string;
    let refused = false;
    let touched: NamedBlock | undefined;
    try {
      [result, touched] = this.#do(step);
    } catch (error) {
      if (!(error instanceof AllocError)) throw error;
      refused = true;
      result = `refused: ${error.message} (${error.code})`;
    }
    const after = snapshot(this.#allocator);
    const pageSize = this.scenario.pageSize ?? 4096;
    this.#last = {
      index: index + 1,
      step,
      result,
      refused,
      words: refused ? [] : explain(before, after),
      snapshot: after,
      ...(touched === undefined
        ? {}
        : {
            touched: {
              pos: touched.pos,
              size: touched.size * (touched.unit === 'pages' ? pageSize : 1),
            },
          }),
    };
    return this.#last;
  }

  close(): void {
    this.#allocator.close();
  }

  #do(step: Step): [result: string, touched?: NamedBlock] {
    const { op, name = '', amount = 0, cpu } = step;
    const allocator = this.#allocator;
    switch (op) {
      case 'alloc':
      case 'zeroed':
      case 'pages':
      case 'ids': {
        this.#blocks.delete(name);
        const block = this.#birth(step);
        this.#blocks.set(name, block);
        return [`${name} = ${placeText(block)}`, block];
      }
      case 'free': {
        const block = this.#named(step);
        if (block === undefined) return [`${name} holds no block: it was refused`];
        this.#free(block, step);
        return [`${name} (${placeText(block)}) is free`, block];
      }
      case 'realloc': {
        const block = this.#named(step);
        if (block === undefined) return [`${name} holds no block: it was refused`];
        const pos = this.#method(step, 'realloc')(block.pos, amount) as number;
        const moved = { pos, size: amount, unit: block.unit };
        this.#blocks.set(name, moved);
        return [
          `${name} = ${placeText(moved)}, ${pos === block.pos ? 'in place' : 'moved'}`,
          moved,
        ];
      }
      case 'drain': {
        const drained = this.#cpu(step, cpu ?? 0).drainRemoteFrees();
        return [`CPU ${cpu} took back ${drained} blocks`];
      }
      case 'trim':
        return [
          `given back: ${this.#method(step, 'trim')()} ${allocator.cpu === undefined ? 'bytes' : 'pages'}`,
        ];
      case 'adopt':
        this.#method(step, 'adopt')(step.from ?? 0, step.to ?? 0);
        return [`CPU ${step.to} owns the slabs of CPU ${step.from}`];
      case 'add':
        this.#method(step, 'addMemory')(step.at ?? 0, amount);
        return [`the range from 0x${(step.at ?? 0).toString(16)} is managed too`];
      default:
        return [step.text.replace(/^note\s*/u, '')];
    }
  }

  #birth(step: Step): NamedBlock {
    const { op, amount = 0, align, cpu, at, lowmem } = step;
    const rest = align === undefined ? [] : [align];
    if (op === 'ids') {
      if (at !== undefined) {
        this.#method(step, 'allocFixedId')(at);
        return { pos: at, size: 1, unit: 'ids' };
      }
      return {
        pos: this.#method(step, 'allocId')(amount, ...rest) as number,
        size: amount,
        unit: 'ids',
      };
    }
    if (op === 'pages') {
      const pos =
        at !== undefined
          ? this.#method(step, 'allocPagesAt')(at, amount, ...rest)
          : this.#method(step, lowmem === true ? 'allocPagesLowmem' : 'allocPages')(
              amount,
              ...rest,
            );
      return { pos: pos as number, size: amount, unit: 'pages' };
    }
    const pos =
      cpu === undefined
        ? this.#method(step, op === 'zeroed' ? 'allocZeroed' : 'alloc')(amount, ...rest)
        : this.#cpu(step, cpu).alloc(amount, ...rest);
    return { pos: pos as number, size: amount, unit: 'bytes' };
  }

  #free(block: NamedBlock, step: Step): void {
    if (block.unit === 'ids') this.#method(step, 'deallocId')(block.pos);
    else if (block.unit === 'pages') this.#method(step, 'deallocPages')(block.pos);
    else if (step.cpu !== undefined) this.#cpu(step, step.cpu).dealloc(block.pos);
    else this.#method(step, this.#allocator.free === undefined ? 'dealloc' : 'free')(block.pos);
  }

  #named(step: Step): NamedBlock | undefined {
    return this.#blocks.get(step.name ?? '');
  }

  #method(step: Step, name: keyof AnyAllocator): (...args: number[]) => unknown {
    const method = this.#allocator[name] as ((...args: number[]) => unknown) | undefined;
    if (typeof method !== 'function') {
      throw usageError(`line ${step.line}: kind '${this.scenario.kind}' cannot do '${step.text}'`);
    }
    return method.bind(this.#allocator);
  }

  #cpu(step: Step, index: number): ReturnType<NonNullable<AnyAllocator['cpu']>> {
    if (typeof this.#allocator.cpu !== 'function') {
      throw usageError(
        `line ${step.line}: kind '${this.scenario.kind}' has no CPUs ('${step.text}')`,
      );
    }
    return this.#allocator.cpu(index);
  }
}

function open({ kind, start, size, cpus, pageSize }: Scenario): AnyAllocator {
  try {
    if (kind === 'heap') return new Heap({ size, name: 'scenario' });
    return createAllocator({
      kind,
      start,
      size,
      ...(kind === 'id' ? {} : { memory: false }),
      ...(cpus === undefined ? {} : { cpus }),
      ...(pageSize === undefined ? {} : { pageSize }),
    } as never) as unknown as AnyAllocator;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code } = error as { code?: string };
    throw new CliError(
      `${kind} cannot be made for this script: ${error.message}`,
      code === 'ERR_NO_BINDING' ? 1 : 2,
      error,
    );
  }
}

function placeText({ pos, size, unit }: NamedBlock): string {
  if (unit === 'ids') return size === 1 ? `id ${pos}` : `ids ${pos} to ${pos + size - 1}`;
  const amount =
    unit === 'pages' ? `${countText(size)} ${size === 1 ? 'page' : 'pages'}` : bytesText(size);
  return `0x${pos.toString(16)}, ${amount}`;
}
