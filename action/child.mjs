// Child processes: never a shell, signals handed on, and an environment from which nothing replaces our code.

import { spawn } from "node:child_process";

const DROPPED = /^(PYTHON|LD_|DYLD_|UV_PROJECT|UV_CONFIG|UV_PYTHON$|VIRTUAL_ENV$|NODE_OPTIONS$|INPUT_|STATE_)/i;

/** The environment of the job without what would change which code runs, and without what is empty: a workflow that passes
 * on a variable of the repository cannot leave it out where there is none. */
export function cleanEnvironment(more = {}) {
  const kept = Object.entries(process.env).filter(([name, value]) => value !== "" && !DROPPED.test(name));
  return { ...Object.fromEntries(kept), ...more };
}

const stop = new AbortController();

/** Aborted when the job is cancelled, with the exit status as its reason. */
export const stopped = stop.signal;

/** Listen for the runner's cancel: SIGINT, then SIGTERM. What runs is told, and nothing else is begun. */
export function listen() {
  for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143]]) process.on(signal, () => stop.abort(new Stopped(status)));
}

/** The job was cancelled; `status` is what the step ends with. */
export class Stopped extends Error {
  constructor(status) {
    super("the job was cancelled");
    this.status = status;
  }
}

/** Run to the end: its exit status and what it printed. `quiet` collects the output and shows it only on failure.
 *
 * Throws `Stopped` when the job was cancelled before its end; for the `last` one only when it was before its begin.
 */
export async function run(program, args, { last = false, ...options } = {}) {
  stopped.throwIfAborted();
  const done = await spawned(program, args, options);
  if (!last) stopped.throwIfAborted();
  return done;
}

function spawned(program, args, { quiet = false, env = cleanEnvironment() } = {}) {
  return new Promise((resolve) => {
    const stdio = quiet ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"];
    const child = spawn(program, args, { env, stdio, windowsHide: true });
    let stdout = "";
    let stderr = "";
    child.stdout?.on("data", (data) => (stdout += data));
    child.stderr?.on("data", (data) => (stderr += data));
    const stop = handOn(child);
    child.on("error", (error) => {
      stop();
      resolve({ status: 127, stdout, stderr: String(error.message) });
    });
    child.on("close", (code, signal) => {
      stop();
      resolve({ status: code ?? 128 + ({ SIGINT: 2, SIGTERM: 15 }[signal] ?? 9), stdout, stderr });
    });
  });
}

/** Hand SIGINT and SIGTERM on, and stay alive until the child has cleaned up after itself. */
function handOn(child) {
  const handlers = ["SIGINT", "SIGTERM"].map((signal) => {
    const handler = () => {
      // On Windows the console sends Ctrl-C to the child as well, and Node's kill would end it at once.
      if (process.platform !== "win32") child.kill(signal);
    };
    process.on(signal, handler);
    return [signal, handler];
  });
  return () => handlers.forEach(([signal, handler]) => process.off(signal, handler));
}
