// A Python with the locked packages, outside of the checkout and of the workspace: by uv, else by a uv that is fetched from
// the package index and checked (four times as fast as pip), else by Python's own pip. Never changes PATH or a later step's
// environment.

import { accessSync, constants, existsSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Stopped, run } from "./child.mjs";
import { installerEnvironment } from "./environment.mjs";
import { inWorkspace, interpreterOf, programPaths, pythonCommands, safeEntries } from "./platform.mjs";
import { Failure } from "./runner.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const UV_AT_LEAST = [0, 8];
const PYTHON_AT_LEAST = [3, 10];

/** The interpreter of our environment. */
export function interpreter(directory) {
  return interpreterOf(directory, process.platform);
}

/** The arguments that run ci-acme: nothing of the job's environment changes what is loaded, text is UTF-8 everywhere, and
 * what Python compiles goes beside the environment, not into the checkout. */
export function program(scratch) {
  return ["-I", "-X", "utf8", "-X", `pycache_prefix=${join(scratch, "compiled")}`, join(HERE, "run.py")];
}

/** Make the environment with the base packages; returns what installs more into it. Throws `Failure`. */
export async function makeEnvironment(directory, scratch) {
  const tried = [];
  for (const rung of [uvOnPath, fetchedUv, pythonWithPip]) {
    const installer = await rung(directory, scratch, tried);
    if (installer && (await works(installer, directory, tried))) return installer;
  }
  throw new Failure(
    `the packages of ci-acme could not be installed: ${tried.join("; ")}`,
    `let the job reach a package index, or name a mirror in PIP_INDEX_URL or UV_DEFAULT_INDEX; where uv and Python ${PYTHON_AT_LEAST.join(".")} ` +
      "are missing, add a step with actions/setup-python or astral-sh/setup-uv before this one"
  );
}

/** Whether the base packages could be installed; if not, nothing is left for the next rung to stumble over. */
async function works(installer, directory, tried) {
  try {
    await installer(["base"]);
    return true;
  } catch (error) {
    if (error instanceof Stopped) throw error;
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    return note(tried, error.message);
  }
}

async function uvOnPath(directory, scratch, tried) {
  const uv = programPaths("uv", process.env, process.platform).find(isProgram);
  if (!uv) return note(tried, "uv is not on PATH");
  const said = await quietly(uv, ["--version"], scratch);
  if (!atLeast(said.stdout, UV_AT_LEAST)) return note(tried, `uv on PATH is too old or broken (${last(said.stdout + said.stderr)})`);
  return byUv(uv, directory, scratch, tried);
}

async function fetchedUv(directory, scratch, tried) {
  const uv = join(scratch, process.platform === "win32" ? "uv.exe" : "uv");
  // In a process of its own: only so does Node hear of a proxy and of a company's CA.
  const proxied = ["HTTPS_PROXY", "HTTP_PROXY"].some((name) => process.env[name] || process.env[name.toLowerCase()]);
  const done = await quietly(process.execPath, [join(HERE, "uv.mjs"), uv], scratch, proxied ? { NODE_USE_ENV_PROXY: "1" } : {});
  if (done.status !== 0) return note(tried, `uv could not be fetched: ${last(done.stderr)}`);
  return byUv(uv, directory, scratch, tried);
}

async function byUv(uv, directory, scratch, tried) {
  // A cache of its own: uv checks what it fetches, not what stands in a cache, and any step may have restored that one.
  const env = { UV_NO_CONFIG: "1", UV_NO_PROGRESS: "1", UV_CACHE_DIR: join(scratch, "cache") };
  const args = ["venv", "--quiet", "--no-project", "--python", `>=${PYTHON_AT_LEAST.join(".")}`, directory];
  const made = await quietly(uv, args, scratch, env);
  if (made.status !== 0) return note(tried, `uv finds and gets no Python: ${last(made.stderr)}`);
  return async (names) => {
    const file = requirements(names, scratch);
    const args = ["pip", "install", "--quiet", "--python", interpreter(directory), "--no-deps", "--require-hashes"];
    must("uv", await quietly(uv, [...args, "--only-binary", ":all:", "-r", file], scratch, env));
  };
}

async function pythonWithPip(directory, scratch, tried) {
  for (const [program, ...prefix] of pythonCommands(process.env, process.platform, listed)) {
    if (!isProgram(program)) continue;
    const said = await quietly(program, [...prefix, "-I", "-c", "import sys; print(*sys.version_info[:2], sep='.')"], scratch);
    if (said.status !== 0 || !atLeast(said.stdout, PYTHON_AT_LEAST)) continue;
    const made = await quietly(program, [...prefix, "-I", "-m", "venv", directory], scratch);
    if (made.status !== 0) {
      note(tried, `${program} cannot make an environment (${last(made.stdout + made.stderr)})`);
      continue;
    }
    return async (names) => {
      const args = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile", "--no-cache-dir"];
      const file = requirements(names, scratch);
      must("pip", await quietly(interpreter(directory), [...args, "--require-hashes", "--only-binary", ":all:", "-r", file], scratch));
    };
  }
  return note(tried, `no Python ${PYTHON_AT_LEAST.join(".")} or newer with venv and pip`);
}

/** Run with the output kept, outside of the workspace: no file there says which Python or which packages. */
function quietly(program, args, scratch, more = {}) {
  const path = safeEntries(process.env.PATH ?? "", process.env, process.platform).filter(isOutside).join(delimiter);
  return run(program, args, { quiet: true, cwd: scratch, env: installerEnvironment({ PATH: path, ...more }) });
}

function isProgram(path) {
  try {
    accessSync(path, process.platform === "win32" ? constants.R_OK : constants.X_OK);
    return statSync(path).isFile() && isOutside(dirname(path));
  } catch {
    return false;
  }
}

/** Whether a directory is not in the workspace, whatever links lead to it. */
function isOutside(directory) {
  try {
    const { GITHUB_WORKSPACE: workspace } = process.env;
    return !inWorkspace(realpathSync(directory), { GITHUB_WORKSPACE: workspace && realpathSync(workspace) }, process.platform);
  } catch {
    return false;
  }
}

function listed(directory) {
  return existsSync(directory) ? readdirSync(directory) : [];
}

/** One file of what is to be installed: a package that several extras need stands in it once. */
function requirements(names, scratch) {
  const blocks = new Map();
  for (const name of names) {
    const path = join(HERE, "requirements", `${name}.txt`);
    const text = existsSync(path) ? readFileSync(path, "utf8").replaceAll("\r\n", "\n") : "";
    for (const block of text.split(/\n(?=\S)/)) {
      if (block.trim() && !block.startsWith("#")) blocks.set(block.split(/[\s;\\]/)[0], block.trimEnd());
    }
  }
  const file = join(scratch, `${names.join("-")}.txt`);
  writeFileSync(file, [...blocks.values(), ""].join("\n"));
  return file;
}

// Of pip: each hash that it expected, each attempt that it makes; they would leave no room for the reason.
const ASIDE = /^(\s*Expected\s+or |WARNING: Retrying )/;

function must(installer, done) {
  if (done.status === 0) return;
  const lines = (done.stdout + done.stderr).trim().split(/\r?\n/).filter((line) => !ASIDE.test(line));
  throw new Failure(`${installer} says ${lines.join("\n").slice(0, 2000)}`);
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
