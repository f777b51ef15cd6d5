/**
 * @file `npm run faults`: plants known mistakes, one at a time, and shows that the tests find each (A18).
 *
 *     node scripts/faults.mjs [--list] [name…]
 *
 * The tree is copied into the target folder, and everything happens there: a fault is a textual change to
 * one file of the copy, by a pattern that must match it; the copy is compiled, the tests that ought to find
 * the fault are run, and the file is put back. Compiling must succeed and a test must fail, within a
 * minute; a test that hangs or takes its process down has failed. First the same tests pass without any
 * fault. A pattern that does not match any more is a failure: the fault must be stated anew.
 *
 * RF1 to RF5 are those of the published crates (`docs/two-level.md`), in our code; CC are rules of
 * `remote.rs`. No fault is in the list that is found by chance only: what needs two threads in the same few
 * nanoseconds is found by shuttle, which decides the schedule, or by a test that makes the moment.
 *
 * Not here: `cargo test -p heapwright-two-level --test interleavings`, which plants them in a model.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { fail, prepare, requireCargo, root } from './steps.mjs';

/** In ms: as long as the tests may take to find a fault. */
const FIND_MS_MAX = 60_000;

const folder = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'faults');
const tree = join(folder, 'tree');

/** Tests of a crate; `filter` picks some of them. */
const cargo = (crate, target, ...filter) => ({ cargo: [crate, target, filter] });

/** The code of remote frees under shuttle, which plays random schedules. */
const shuttle = { cargo: ['two-level', ['--test', 'shuttle_remote'], []], cfg: 'shuttle' };

const units = (...filter) => cargo('two-level', ['--lib'], ...filter);
const engine = (...filter) => cargo('heap', ['--test', 'engine'], ...filter);

/** Tests of a spec file; `only` picks some of them by their names. */
const spec = (name, only) => ({ spec: name, only });

const REMOTE = 'crates/heapwright-two-level/src/remote.rs';
const SLOTS = 'crates/heapwright-two-level/src/global/slots.rs';
const SET = 'crates/heapwright-two-level/src/slab/set.rs';
const HEAP = 'crates/heapwright-heap/src/heap';
const MAGAZINE = 'src/magazine.ts';

/**
 * The faults: what is wrong, where, by which change, and who finds it. Patterns are regular expressions over the
 * whole file, in which a space stands for any white space.
 */
const faults = [
  {
    name: 'full-not-drained',
    about: 'RF1: slabs without a free slot are not drained',
    file: SLOTS,
    find: 'let one = self\\.collect\\(slabs, id, slab\\);',
    put: 'if slab.state().list == ListState::Full { continue; }\n$&',
    tests: units('global::tests'),
  },
  {
    name: 'list-by-guess',
    about: 'RF2: a pending slot counts as available when the owner frees another',
    file: SET,
    find: 'state\\.given\\(\\)',
    put: '(if slab.count_pending() > 0 { state.given().given() } else { state.given() })',
    tests: units('global::tests'),
  },
  {
    name: 'return-while-queued',
    about: 'RF3 (CC2): a slab is returned while a freer still has to do with it',
    file: REMOTE,
    find: '(fn retire\\([^}]*) == 0 \\}',
    put: '$1 < u64::MAX }',
    tests: shuttle,
  },
  {
    name: 'flag-after-bits',
    about: 'RF4 (CC4): the flag is lowered after the bits were taken',
    file: SLOTS,
    find: 'chain = remote::unqueue\\(slab\\);([^]*?)let one = self\\.collect\\(slabs, id, slab\\);',
    put: 'let early = remote::peek(slab);$1let one = self.collect(slabs, id, slab); remote::unqueue(slab); chain = early;',
    more: {
      file: REMOTE,
      find: '/// Takes the top slab of a chain off;',
      put: "pub(crate) fn peek(slab: Slab<'_>) -> Option<SlabId> { link(slab.line()[PENDING].load(Ordering::Relaxed)) }\n$&",
    },
    tests: shuttle,
  },
  {
    name: 'bit-does-not-decide',
    about: 'RF5 (CC5): a second remote free of a block succeeds',
    file: REMOTE,
    find: 'let won = bit\\.mask & !before;',
    put: 'let won = bit.mask | (before & 0);',
    tests: units('global::tests'),
  },
  {
    name: 'outbox-drops-one',
    about: 'one entry of an outbox is lost when it is handed over',
    file: `${HEAP}/free.rs`,
    find: '(blocks\\.retain\\(\\|&p\\| \\{)',
    put: 'blocks.pop();\n$1',
    tests: spec('workers', 'lets any thread free'),
  },
  {
    name: 'recovery-takes-all',
    about: "a dead thread's recovery takes what another claims for one of its magazines'",
    file: `${HEAP}/recover.rs`,
    find: 'if StateMap::is_held\\(self\\.state\\.get\\(&self\\.meta, p\\), gone\\.index\\(\\)\\)',
    put: 'if self.state.get(&self.meta, p) != 1',
    tests: engine('late_free'),
  },
  {
    name: 'adoption-forgotten',
    about: 'RF7: nobody takes over the slabs of a thread that is gone',
    file: `${HEAP}/recover.rs`,
    find: 'match self\\.pages\\.return_others\\(\\|\\| self\\.global\\.adopt\\(gone, heir\\)\\) \\{',
    put: 'match self.global.detach(gone).map(|()| drop(heir)) {',
    tests: engine('nothing_is_lost'),
  },
  {
    name: 'word-not-read-again-by-rust',
    about: 'Rust does not look at the page map again once it has claimed a block',
    file: `${HEAP}/publish.rs`,
    find: 'if self\\.pages\\.word\\(p\\) == word \\{',
    put: 'if self.pages.word(p) == word || slot < usize::MAX {',
    tests: cargo('heap', ['--lib'], 'publish'),
  },
  {
    name: 'takes-any-claim-back-in-rust',
    about: "Rust gives a claim up, and takes another thread's back with it",
    file: `${HEAP}/state.rs`,
    find: '(fn give_up\\([^}]*, )mark_of\\(slot\\), STATE_LIVE\\)',
    put: '$1self.get(memory, p).max(mark_of(0)), STATE_LIVE)',
    tests: cargo('heap', ['--lib'], 'publish'),
  },
  {
    name: 'owner-not-awaited',
    about: 'a page becomes public while its owner is in the middle of a free there',
    file: `${HEAP}/page_map.rs`,
    find: 'while hazard\\(\\) == named \\{',
    put: 'while false && hazard() == named {',
    tests: engine('publish'),
  },
  {
    name: 'same-generation',
    about: 'a page that is public once more looks as it did before it was private',
    file: `${HEAP}/page_map.rs`,
    find: 'self\\.generations\\[owner\\]\\.fetch_add\\(1, Ordering::Relaxed\\);',
    put: '',
    tests: engine('publish'),
  },
  {
    name: 'plain-store',
    about: 'a free on a shared heap looks, then stores, where it must compare and exchange',
    file: MAGAZINE,
    find: 'Atomics\\.compareExchange\\(state, g, 1, (\\w+)\\) ([!=]==) 1',
    put: '(state[g] === 1 ? ((state[g] = $1), 1) : 0) $2 1',
    tests: spec('duels', 'a moment late'),
  },
  {
    name: 'word-not-read-again',
    about: 'the page map is not looked at again once a block is claimed',
    file: MAGAZINE,
    find: 'if \\(pageMap\\[g >>> 8\\] === (word|own)( && [^)]*)?\\) ',
    put: 'if (pageMap[g >>> 8] === $1 || word0) ',
    more: {
      file: MAGAZINE,
      find: '(export function shared(?:Pool)?Path\\([^{]*\\{)',
      put: '$1 const word0 = true;',
    },
    tests: spec('late-free'),
  },
  {
    name: 'takes-any-claim-back',
    about: "a free gives its claim up, and takes another thread's back with it",
    file: MAGAZINE,
    find: 'Atomics\\.compareExchange\\(state, g, mark, 1\\);',
    put: 'Atomics.compareExchange(state, g, Math.max(2, state[g] as number), 1);',
    tests: spec('late-free', 'takes no other'),
  },
  {
    name: 'mark-not-read-again',
    about: "a block that the owner's plain store has freed goes on the stack of who claimed it",
    file: MAGAZINE,
    find: 'if \\(pageMap\\[g >>> 8\\] === word && state\\[g\\] === mark\\) \\{',
    put: 'if (pageMap[g >>> 8] === word) {',
    tests: spec('late-free', 'is refused where'),
  },
  {
    name: 'owner-not-checked',
    about: "another thread's block goes on this one's stack",
    file: MAGAZINE,
    find: 'if \\(\\(word & ownerAndMode\\) === mineInPublic\\)',
    put: 'if ((word & ownerAndMode) === mineInPublic || (word & isPublic) !== 0)',
    tests: spec('workers', 'lets any thread free'),
  },
  {
    name: 'not-marked-live',
    about: 'alloc on a shared heap does not mark the block live',
    file: MAGAZINE,
    find: 'state\\[big \\? e >>> 0 : e >>> 4\\] = 1;',
    put: '',
    tests: spec('workers', 'is exclusive until'),
  },
  {
    name: 'slot-recycled',
    about: 'a function that a closed attachment left behind works on the next one of its slot',
    file: MAGAZINE,
    find: 't\\[0\\] === alive',
    put: 't[0] !== 0 && alive !== 0',
    tests: spec('recycled-slot'),
  },
];

/** The time since `started`, in seconds. */
const since = (started) => ((Date.now() - started) / 1000).toFixed(1);

/** Copies what has changed, so that cargo compiles no more than that. */
function copyTree() {
  mkdirSync(tree, { recursive: true });
  const listed = spawnSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  );
  if (listed.status !== 0) fail('faults: needs a git checkout');
  const files = listed.stdout
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(root, path)));
  const binaries = readdirSync(join(root, 'native')).filter((name) => name.endsWith('.node'));
  const wanted = new Set([...files, ...binaries.map((name) => `native/${name}`)]);
  for (const path of wanted) {
    const [from, to] = [join(root, path), join(tree, path)];
    if (existsSync(to) && readFileSync(from).equals(readFileSync(to))) continue;
    mkdirSync(dirname(to), { recursive: true });
    cpSync(from, to);
  }
  for (const path of filesBelow(tree)) if (!wanted.has(path)) rmSync(join(tree, path));
  const modules = join(tree, 'node_modules');
  if (!existsSync(modules)) symlinkSync(join(root, 'node_modules'), modules);
}

function filesBelow(start) {
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(start, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((path) => !/^(node_modules|dist)\//.test(path));
}

/** Runs a command in the copy; resolves to its exit code and output. It is killed after `timeout` ms. */
function run(command, args, { env = {}, timeout = 600_000 } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: tree,
      env: { ...process.env, CARGO_TARGET_DIR: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let output = '';
    let late = false;
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => (output += text));
    const timer = setTimeout(() => {
      late = true;
      // The tests' own children too: the group is ours.
      process.kill(-child.pid, 'SIGKILL');
    }, timeout);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 128, late, output: stripVTControlCharacters(output) });
    });
  });
}

function cargoArguments({ cargo: [crate, target, filter] }, ...flags) {
  return ['test', '--locked', ...flags, '-p', `heapwright-${crate}`, ...target].concat(
    filter.length > 0 ? ['--', ...filter] : [],
  );
}

/** As the tests of the crates are otherwise, but fast: an optimized build with all assertions. */
const environment = ({ cfg }) => ({
  CARGO_PROFILE_DEV_OPT_LEVEL: '1',
  CARGO_PROFILE_DEV_DEBUG: 'false',
  ...(cfg === undefined
    ? {}
    : { RUSTFLAGS: `--cfg ${cfg}`, CARGO_TARGET_DIR: join(folder, cfg), CARGO_INCREMENTAL: '1' }),
});

/** Compiles what the tests need; the last lines of the compiler where it refuses. */
async function compile(tests, file) {
  const env = environment(tests);
  const steps = [];
  if (tests.cargo !== undefined) {
    steps.push(['cargo', cargoArguments(tests, '--no-run')]);
  } else {
    const rust = file === undefined || file.endsWith('.rs');
    if (rust) steps.push(['cargo', ['build', '--locked', '-p', 'heapwright-node']]);
    steps.push([
      process.execPath,
      ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
    ]);
  }
  for (const [command, args] of steps) {
    const { code, output } = await run(command, args, { env });
    if (code !== 0) return output.trimEnd().split('\n').slice(-25).join('\n');
    if (args[0] === 'build') {
      cpSync(
        join(folder, 'debug', 'libheapwright_node.so'),
        join(tree, 'native', 'heapwright.linux-x64-gnu.node'),
      );
    }
  }
  return undefined;
}

/** Runs the tests, compiled already. */
function test(tests) {
  const env = environment(tests);
  if (tests.cargo !== undefined) {
    return run('cargo', cargoArguments(tests), { env, timeout: FIND_MS_MAX });
  }
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--bail', '1'];
  args.push(`__test__/${tests.spec}.spec.ts`, ...(tests.only ? ['-t', tests.only] : []));
  return run(process.execPath, args, { timeout: FIND_MS_MAX });
}

/** The test that failed first, by its name in the output. */
function firstFailure({ output, late }) {
  if (late) return 'a test that hangs';
  const lines = output.split('\n');
  const rust = lines.map((line) => /^test (\S+) .*FAILED$/.exec(line)?.[1]).find(Boolean);
  const spec = lines.map((line) => /^\s*FAIL\s+(.*)$/.exec(line)?.[1]).find(Boolean);
  const died = lines.some((line) => /signal: \d+|Worker exited unexpectedly/.test(line));
  return rust ?? spec ?? (died ? 'a process that died' : undefined);
}

/** `text` with the change made; `undefined` where the pattern does not match. */
function changed(text, { find, put }) {
  const pattern = new RegExp(find.replaceAll(' ', '\\s+'), 'g');
  return pattern.test(text) ? text.replaceAll(pattern, put) : undefined;
}

/** Plants one fault; returns whether it was found, and what to say. */
async function plant(fault) {
  const before = new Map();
  try {
    for (const change of [fault, fault.more ?? []].flat()) {
      const path = join(tree, change.file);
      const text = readFileSync(path, 'utf8');
      if (!before.has(path)) before.set(path, text);
      const faulty = changed(text, change);
      if (faulty === undefined) {
        return [false, `the pattern matches nothing in ${change.file}: state the fault anew`];
      }
      writeFileSync(path, faulty);
    }
    const error = await compile(fault.tests, fault.file);
    if (error !== undefined) return [false, `does not compile:\n${error}`];
    const started = Date.now();
    const result = await test(fault.tests);
    if (result.code === 0) return [false, `NOT FOUND, all tests pass in ${since(started)} s`];
    const failure = firstFailure(result);
    if (failure === undefined) {
      return [false, `no test failed, but the run did:\n${result.output.slice(-2000)}`];
    }
    return [true, `found in ${since(started)} s by ${failure}`];
  } finally {
    for (const [path, text] of before) writeFileSync(path, text);
  }
}

/** Everything must pass without a fault, each set of tests once. */
async function control(chosen) {
  const sets = new Map(chosen.map(({ tests }) => [JSON.stringify(tests), tests]));
  for (const tests of sets.values()) {
    const error = await compile(tests);
    if (error !== undefined) fail(`faults: the tree does not compile:\n${error}`);
    const started = Date.now();
    const result = await test(tests);
    const what = tests.spec ?? [tests.cfg ?? '', ...tests.cargo.flat(2)].join(' ').trim();
    if (result.code !== 0) {
      fail(`faults: without any fault, ${what} fails:\n${result.output.slice(-3000)}`);
    }
    console.log(`— without a fault: ${what} passes in ${since(started)} s`);
  }
}

const args = process.argv.slice(2);
if (args.includes('--list')) {
  for (const { name, about } of faults) console.log(`${name.padEnd(22)} ${about}`);
  process.exit(0);
}
const unknown = args.filter((arg) => faults.every(({ name }) => name !== arg));
if (unknown.length > 0) fail(`faults: no such fault: ${unknown.join(', ')}; see --list`);
const chosen = faults.filter(({ name }) => args.length === 0 || args.includes(name));

requireCargo();
prepare();
copyTree();
if (!lstatSync(join(tree, 'node_modules')).isSymbolicLink()) fail('faults: the copy is not ours');
await control(chosen);
let found = 0;
for (const fault of chosen) {
  const [ok, what] = await plant(fault);
  found += Number(ok);
  console.log(`${ok ? '✓' : '×'} ${fault.name} (${fault.about}): ${what}`);
}
console.log(`faults: ${found} of ${chosen.length} found`);
console.log(`${found} passed, ${chosen.length - found} failed`);
process.exit(found === chosen.length ? 0 : 1);
