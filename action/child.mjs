// Child processes: never a shell, signals handed on, and an environment from which nothing replaces our code.

import { spawn } from "node:child_process";

const DROPPED = /^(PYTHON|LD_|DYLD_|UV_PROJECT|UV_CONFIG|UV_PYTHON$|VIRTUAL_ENV$|NODE_OPTIONS$|INPUT_|STATE_)/i;

/** The environment of the job without what would change which code runs. */
export function cleanEnvironment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !DROPPED.test(name));
  return { ...Object.fromEntries(kept), PYTHONUTF8: "1", PYTHONDONTWRITEBYTECODE: "1", ...more };
}

/** Run to the end: its exit status and what it printed. `quiet` collects the output and shows it only on failure. */
export function run(program, args, { quiet = false, env = cleanEnvironment() } = {}) {
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
