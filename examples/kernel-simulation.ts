/**
 * @file A small kernel on the two-level engine: what `/proc/buddyinfo` and `/proc/slabinfo` show as it runs.
 *
 * Two NUMA-like sections, of which only the first has memory below 4 GiB of physical address; four CPUs with
 * slabs of their own; a network card that needs DMA buffers below 4 GiB; processes that are born, fault
 * pages in, open files, are scheduled elsewhere and die there, so that their objects are freed on another
 * CPU than the one that allocated them. At the end a CPU is unplugged.
 *
 *     node dist/examples/kernel-simulation.js
 *
 * No memory is behind the addresses: 12 GiB of simulated RAM cost only metadata.
 */
import { GiB, KiB, createAllocator, snapshot, toBuddyinfo, toSlabinfo } from 'heapwright';
import type { AllocError, CpuAllocator } from 'heapwright';

const CPUS = 4;
/** Kernel objects, in bytes. */
const TASK = 1900;
const FILE = 232;
const DENTRY = 192;
const RING_PAGES = 64;

/** A process: where it runs, and what it holds. */
interface Process {
  readonly pid: number;
  cpu: CpuAllocator;
  readonly objects: number[];
  readonly runs: number[];
}

// Node 0: 4 GiB of RAM from 1 GiB, so that its last GiB lies above the 4 GiB line. Node 1: 8 GiB, all above.
const kernel = createAllocator({
  kind: 'two-level',
  start: GiB(1),
  size: GiB(4),
  physStart: GiB(1),
  cpus: CPUS,
  memory: false,
});
kernel.addRegion(GiB(64), GiB(8), { physStart: GiB(16) });

let seed = 2026;
/** From 0 to `n - 1`; the same in every run. */
function random(n: number): number {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
  return Math.floor((seed / 2 ** 32) * n);
}

function show(title: string): void {
  const state = snapshot(kernel);
  console.log(`== ${title}`);
  console.log(toBuddyinfo(state));
  console.log(toSlabinfo(state));
}

/** Forks: a task on `cpu`, some open files, the pages that it touches first. */
function fork(pid: number, cpu: CpuAllocator): Process {
  const process: Process = { pid, cpu, objects: [cpu.alloc(TASK)], runs: [] };
  for (let index = 0; index < 3 + random(12); index += 1) {
    process.objects.push(cpu.alloc(FILE), cpu.alloc(DENTRY));
  }
  for (let index = 0; index < 4; index += 1) process.runs.push(kernel.allocPages(1 + random(16)));
  return process;
}

/** Exits on whatever CPU the process runs by now: much of it is a remote free. */
function exit(process: Process): void {
  for (const object of process.objects) process.cpu.dealloc(object);
  for (const run of process.runs) kernel.deallocPages(run);
}

/** DMA rings of a network card: 64 pages each, below 4 GiB, aligned to 64 KiB. */
function openNetwork(): number[] {
  const rings: number[] = [];
  for (let index = 0; index < 8; index += 1) {
    rings.push(kernel.allocPagesLowmem(RING_PAGES, KiB(64)));
  }
  return rings;
}

show('booted');
const rings = openNetwork();
console.log(
  `DMA rings at physical ${rings.map((ring) => `0x${kernel.virtToPhys(ring).toString(16)}`).join(' ')}\n`,
);

const alive: Process[] = [];
let born = 0;
for (let tick = 0; tick < 4000; tick += 1) {
  if (alive.length < 300 || random(2) === 0) {
    born += 1;
    alive.push(fork(born, kernel.cpu(random(CPUS))));
  }
  const process = alive[random(alive.length)] as Process;
  // Page faults, and the scheduler moves it.
  process.runs.push(kernel.allocPages(1));
  process.cpu = kernel.cpu(random(CPUS));
  if (alive.length > 300) exit(alive.splice(random(alive.length), 1)[0] as Process);
  if (tick % 2000 === 1999) show(`after ${tick + 1} ticks, ${alive.length} processes of ${born}`);
}

// CPU 3 is unplugged: CPU 0 takes over its slabs, and its processes go on elsewhere.
const waiting = kernel
  .cpu(3)
  .classes()
  .reduce((sum, { pendingRemote }) => sum + pendingRemote, 0);
kernel.adopt(3, 0);
for (const process of alive) if (process.cpu.index === 3) process.cpu = kernel.cpu(0);
console.log(`CPU 3 is gone; ${waiting} of its objects had been freed elsewhere and are back.\n`);

for (const process of alive) exit(process);
for (const ring of rings) kernel.deallocPages(ring, RING_PAGES);
const drained = [0, 1, 2].map((cpu) => kernel.cpu(cpu).drainRemoteFrees());
console.log(`Remote frees drained at the end, by CPU: ${drained.join(' ')}`);
console.log(`Pages that empty slabs gave back: ${kernel.trim()}`);
show('shut down');

try {
  kernel.allocPagesLowmem(GiB(3) / KiB(4) + 1);
} catch (error) {
  // Truthful: a request of `largestFree` pages would succeed.
  const { code, largestFree } = error as AllocError;
  console.log(`Too much DMA memory: ${code}, at most ${largestFree} pages in one piece.`);
}
console.log(`${kernel.check()} blocks live, ${kernel.allocatedBytes} bytes in use.`);
kernel.close();
