// Runs test files of Node.js, each in a process of its own as `node --test` does, and writes what it learns, as it learns it, to the file
// that AUTOMATION_REPORT names.
//
//   node node-tests.mjs [FLAG...] -- FILE...
//
// FLAG   an option of node for the processes that run the files
// FILE   a test file; without one all that `node --test` would find below the current folder
//
// With AUTOMATION_LIST set it prints the names of these files instead.
//
// The report is of events, one JSON object on a line (docs/runners.md). A test is a file; how its process ends decides, and what failed in
// it is told. A file all of whose tests are skipped is skipped. AUTOMATION_TEST_TIMEOUT is how many seconds a file may take.
//
// Exit codes: 0 all passed; 1 some failed; 2 there is no such file, or none.

import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const own = fileURLToPath(import.meta.url);

// The most characters of a failure that are told.
const DETAIL_CAP = 64 << 10;

// How long a process has to end after it was told to, in ms.
const GRACE = 5000;

// The reporter of a file's process: one line a test that has no tests of its own, and each failure.
export default async function* report(source) {
  let before = 0;
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const error = data.details?.error?.cause ?? data.details?.error;
    const skipped = data.skip !== undefined && data.skip !== false;
    const todo = data.todo !== undefined && data.todo !== false;
    const failed = type === 'test:fail' && !todo;
    const text = failed ? String(error?.stack ?? error?.message ?? error ?? '') : '';
    const why = typeof data.skip === 'string' ? data.skip : null;
    // What has tests of its own ends behind them: it is no test itself.
    const suite = data.nesting < before;
    before = data.nesting;
    yield JSON.stringify({ name: data.name, suite, failed, skipped, why, text: text.slice(0, DETAIL_CAP) }) + '\n';
  }
}

function names(folder = '.', within = false) {
  const found = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = folder === '.' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules' && !entry.name.startsWith('.')) found.push(...names(path, within || entry.name === 'test'));
    } else if (/\.[cm]?js$/.test(entry.name)) {
      const base = entry.name.replace(/\.[cm]?js$/, '');
      if (within || base === 'test' || /^test-/.test(base) || /[.\-_]test$/.test(base)) found.push(path);
    }
  }
  return found.sort();
}

function write(fields) {
  appendFileSync(process.env.AUTOMATION_REPORT, JSON.stringify(fields) + '\n');
}

// Runs one file; gives whether it failed.
function run(file, flags, limit) {
  const folder = mkdtempSync(join(os.tmpdir(), 'node-tests-'));
  const events = join(folder, 'events');
  const environment = { ...process.env };
  for (const name of ['AUTOMATION_REPORT', 'AUTOMATION_TESTS', 'NODE_TEST_CONTEXT']) delete environment[name];
  const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout', `--test-reporter=${own}`, `--test-reporter-destination=${events}`];
  const began = Date.now();
  write({ event: 'start', test: file, at: began / 1000 });
  return new Promise((done) => {
    const child = spawn(process.execPath, [...flags, ...reporters, file], { stdio: ['ignore', 'pipe', 'pipe'], env: environment, detached: true });
    let said = '';
    let late = false;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        process.stdout.write(text);
        said = (said + text).slice(-DETAIL_CAP);
      });
    }
    const end = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // It has ended by itself.
      }
    };
    const timers = [];
    if (limit) {
      timers.push(setTimeout(() => { late = true; end('SIGTERM'); timers.push(setTimeout(() => end('SIGKILL'), GRACE)); }, limit * 1000));
    }
    child.on('error', (error) => { said += String(error); });
    child.on('close', (code, signal) => {
      timers.forEach(clearTimeout);
      end('SIGKILL');
      const seconds = (Date.now() - began) / 1000;
      const { outcome, reason, detail } = judge(read(events), { code, signal, late, limit, said });
      if (detail) write({ event: 'detail', test: file, text: detail });
      write({ event: 'finish', test: file, outcome, seconds, reason });
      rmSync(folder, { recursive: true, force: true });
      done(outcome === 'failed' || outcome === 'timed_out');
    });
  });
}

function read(events) {
  try {
    return readFileSync(events, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  } catch {
    // A process that was ended may not have come to it.
    return [];
  }
}

function judge(tests, { code, signal, late, limit, said }) {
  if (late) return { outcome: 'timed_out', reason: `timed out after ${limit} s`, detail: said };
  const leaves = tests.filter((test) => !test.suite);
  const failed = (leaves.some((test) => test.failed) ? leaves : tests).filter((test) => test.failed);
  if (signal) return { outcome: 'failed', reason: `ended by ${signal}`, detail: said };
  if (code !== 0) {
    const reason = failed.length ? `${failed.map((test) => test.name).join(', ')} failed` : `exit status ${code}`;
    return { outcome: 'failed', reason, detail: failed.map((test) => `${test.name}\n${test.text}\n`).join('\n') || said };
  }
  if (failed.length) return { outcome: 'failed', reason: 'tests failed, and the status is 0', detail: said };
  if (leaves.length && leaves.every((test) => test.skipped)) return { outcome: 'skipped', reason: leaves[0].why };
  return { outcome: 'passed', reason: null };
}

async function main() {
  const at = process.argv.indexOf('--');
  const flags = process.argv.slice(2, at);
  const files = process.argv.length > at + 1 ? process.argv.slice(at + 1) : names();
  if (process.env.AUTOMATION_LIST) {
    process.stdout.write(files.map((file) => `${file}\n`).join(''));
    return 0;
  }
  const missing = files.find((file) => !statSync(file, { throwIfNoEntry: false })?.isFile());
  if (missing !== undefined || !files.length) {
    process.stderr.write(missing === undefined ? 'there is no test file\n' : `there is no test file ${missing}\n`);
    return 2;
  }
  const limit = Number(process.env.AUTOMATION_TEST_TIMEOUT || 0);
  const waiting = [...files];
  let status = 0;
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      if (await run(file, flags, limit)) status = 1;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, os.availableParallelism?.() ?? os.cpus().length) }, work));
  write({ event: 'end' });
  return status;
}

// The processes that run files load this module as their reporter.
if (process.argv[1] === own) process.exitCode = await main();
