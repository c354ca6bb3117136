// Child processes: never a shell, signals handed on, and an environment from which nothing replaces our code.

import { spawn } from "node:child_process";
import { cleanEnvironment } from "./environment.mjs";
import { cancelSignals, handsOn } from "./platform.mjs";

const SIGNALS = cancelSignals(process.platform);

const stop = new AbortController();

/** Aborted when the job is cancelled, with the exit status as its reason. */
export const stopped = stop.signal;

/** Listen for the runner's cancel. What runs is told, and nothing else is begun. */
export function listen() {
  for (const [signal, status] of SIGNALS) process.on(signal, () => stop.abort(new Stopped(status)));
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

function spawned(program, args, { quiet = false, cwd, env = cleanEnvironment() } = {}) {
  return new Promise((resolve) => {
    const stdio = quiet ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"];
    // Not windowsHide: with it, a child whose output is collected gets a console of its own, and no Ctrl-C reaches it.
    const child = spawn(program, args, { cwd, env, stdio });
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

/** Hand the signals on, and stay alive until the child has cleaned up after itself. */
function handOn(child) {
  const handlers = SIGNALS.map(([signal]) => {
    const handler = () => {
      if (handsOn(process.platform)) child.kill(signal);
    };
    process.on(signal, handler);
    return [signal, handler];
  });
  return () => handlers.forEach(([signal, handler]) => process.off(signal, handler));
}
