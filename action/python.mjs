// A Python with the locked packages, outside of the checkout and of the workspace: by uv, else by Python's own pip,
// else by a uv that is fetched from the package index and checked. Never changes PATH or a later step's environment.

import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Stopped, cleanEnvironment, run } from "./child.mjs";
import { fetchUv, indexUrl } from "./uv.mjs";
import { Failure } from "./runner.mjs";

export const HERE = dirname(fileURLToPath(import.meta.url));
const UV_AT_LEAST = [0, 8];
const PYTHON_AT_LEAST = [3, 10];

/** The interpreter of an environment. */
export function interpreter(directory) {
  return process.platform === "win32" ? join(directory, "Scripts", "python.exe") : join(directory, "bin", "python");
}

/** The arguments that run ci-acme: nothing of the job's environment changes what is loaded, text is UTF-8 everywhere, and
 * what Python compiles goes beside the environment, not into the checkout. */
export function program(scratch) {
  return ["-I", "-X", "utf8", "-X", `pycache_prefix=${join(scratch, "compiled")}`, join(HERE, "run.py")];
}

/** Make the environment with the base packages; returns what installs more into it. Throws `Failure`. */
export async function makeEnvironment(directory, scratch) {
  const tried = [];
  for (const rung of [uvOnPath, pythonWithPip, fetchedUv]) {
    const installer = await rung(directory, scratch, tried);
    if (installer) {
      await installer(["base"]);
      return installer;
    }
  }
  throw new Failure(
    `there is neither uv nor Python ${PYTHON_AT_LEAST.join(".")}, and uv could not be fetched: ${tried.join("; ")}`,
    "add a step with actions/setup-python or astral-sh/setup-uv before this one, or let the job reach a package index"
  );
}

async function uvOnPath(directory, scratch, tried) {
  const said = await run("uv", ["--version"], { quiet: true });
  if (said.status !== 0) return note(tried, "uv is not on PATH");
  if (!atLeast(said.stdout, UV_AT_LEAST)) return note(tried, `uv on PATH is too old (${said.stdout.trim()})`);
  return byUv("uv", directory, scratch, tried);
}

async function fetchedUv(directory, scratch, tried) {
  try {
    return await byUv(await fetchUv(scratch), directory, scratch, tried);
  } catch (error) {
    if (error instanceof Stopped) throw error;
    return note(tried, error.message.split("\n")[0]);
  }
}

async function byUv(uv, directory, scratch, tried) {
  const env = cleanEnvironment({ UV_NO_CONFIG: "1", UV_NO_PROGRESS: "1", ...uvIndex() });
  const made = await run(uv, ["venv", "--quiet", "--python", `>=${PYTHON_AT_LEAST.join(".")}`, directory], { quiet: true, env });
  if (made.status !== 0) return note(tried, `uv found and got no Python: ${last(made.stderr)}`);
  return async (names) => {
    const file = requirements(names, scratch);
    const args = ["pip", "install", "--quiet", "--python", interpreter(directory), "--no-deps", "--require-hashes"];
    await must(uv, [...args, "--only-binary", ":all:", "-r", file], env);
  };
}

async function pythonWithPip(directory, scratch, tried) {
  for (const [program, ...prefix] of pythons()) {
    const said = await run(program, [...prefix, "-I", "-c", "import sys; print(*sys.version_info[:2], sep='.')"], { quiet: true });
    if (said.status !== 0 || !atLeast(said.stdout, PYTHON_AT_LEAST)) continue;
    const made = await run(program, [...prefix, "-I", "-m", "venv", directory], { quiet: true });
    if (made.status !== 0) {
      note(tried, `${program} cannot make an environment (${last(made.stdout + made.stderr)})`);
      continue;
    }
    return async (names) => {
      const args = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile"];
      const file = requirements(names, scratch);
      await must(interpreter(directory), [...args, "--require-hashes", "--only-binary", ":all:", "-r", file], cleanEnvironment());
    };
  }
  return note(tried, `no Python ${PYTHON_AT_LEAST.join(".")} or newer with venv and pip`);
}

/** Where a Python may be: what a setup step made known, PATH, the runner's tool cache. */
function* pythons() {
  if (process.env.pythonLocation) yield [interpreter(process.env.pythonLocation)];
  yield ["python3"];
  yield ["python"];
  if (process.platform === "win32") yield ["py", "-3"];
  const cache = join(process.env.RUNNER_TOOL_CACHE ?? "", "Python");
  if (process.env.RUNNER_TOOL_CACHE && existsSync(cache)) {
    for (const version of readdirSync(cache).sort().reverse()) {
      for (const arch of ["x64", "arm64"]) {
        const home = join(cache, version, arch);
        yield [process.platform === "win32" ? join(home, "python.exe") : join(home, "bin", "python3")];
      }
    }
  }
}

/** One file of what is to be installed: a package that several extras need stands in it once. */
function requirements(names, scratch) {
  const blocks = new Map();
  for (const name of names) {
    const path = join(HERE, "requirements", `${name}.txt`);
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    for (const block of text.split(/\n(?=\S)/)) {
      if (block.trim() && !block.startsWith("#")) blocks.set(block.split(/[\s;\\]/)[0], block.trimEnd());
    }
  }
  const file = join(scratch, `${names.join("-")}.txt`);
  writeFileSync(file, [...blocks.values(), ""].join("\n"));
  return file;
}

/** uv does not read pip's variables: who has a mirror for pip has it for uv as well. */
function uvIndex() {
  return process.env.UV_DEFAULT_INDEX || process.env.UV_INDEX_URL ? {} : { UV_DEFAULT_INDEX: indexUrl() };
}

async function must(program, args, env) {
  const done = await run(program, args, { quiet: true, env });
  if (done.status === 0) return;
  const said = (done.stdout + done.stderr).trim();
  throw new Failure(
    `the packages of ci-acme could not be installed: ${said.slice(-2000)}`,
    "let the job reach a package index, or name a mirror in PIP_INDEX_URL or UV_DEFAULT_INDEX"
  );
}

function atLeast(text, wanted) {
  const found = (text.match(/(\d+)\.(\d+)/) ?? []).slice(1).map(Number);
  return found.length === 2 && (found[0] > wanted[0] || (found[0] === wanted[0] && found[1] >= wanted[1]));
}

function last(text) {
  return text.trim().split("\n").at(-1) || "no reason given";
}

function note(tried, text) {
  tried.push(text);
  return null;
}
