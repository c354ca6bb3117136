// What differs between Linux, macOS and Windows, as functions of the platform and the environment, so that each answer
// is tested on every one of them. Nothing here looks at a disk.

import { posix, win32 } from "node:path";

/** The rules for paths of a platform. */
export function paths(platform) {
  return platform === "win32" ? win32 : posix;
}

/** The signals of a cancel, in their order, with the status that each ends a step with. The runner sends SIGINT and
 * SIGTERM; on Windows Ctrl-C and Ctrl-Break, which Node calls SIGBREAK, and which would end it if it did not listen. */
export function cancelSignals(platform) {
  return [
    ["SIGINT", 130],
    [platform === "win32" ? "SIGBREAK" : "SIGTERM", 143],
  ];
}

/** Whether a child must be told of a signal. On Windows the runner sends it to all processes of the console, and Node's
 * kill would be a hard end. */
export function handsOn(platform) {
  return platform !== "win32";
}

/** A variable; Windows does not tell upper from lower case in its name. */
export function variable(env, name, platform) {
  if (platform !== "win32" || env[name] !== undefined) return env[name] ?? "";
  const found = Object.keys(env).find((key) => key.toUpperCase() === name.toUpperCase());
  return found ? env[found] : "";
}

/** The interpreter of an environment (PEP 405). */
export function interpreterOf(environment, platform) {
  const { join } = paths(platform);
  return platform === "win32" ? join(environment, "Scripts", "python.exe") : join(environment, "bin", "python");
}

/** The interpreter of a Python that is unpacked or installed in a directory, as actions/setup-python does. */
export function interpreterIn(home, platform) {
  const { join } = paths(platform);
  return platform === "win32" ? join(home, "python.exe") : join(home, "bin", "python3");
}

/** Whether a path is inside of the workspace, where the job's files are. */
export function inWorkspace(path, env, platform) {
  const { isAbsolute, relative, resolve } = paths(platform);
  const workspace = variable(env, "GITHUB_WORKSPACE", platform);
  if (!workspace) return false;
  const rest = relative(resolve(workspace), resolve(workspace, path)); // Windows: whatever the case of the letters
  return rest === "" || !(rest === ".." || rest.startsWith("../") || rest.startsWith("..\\") || isAbsolute(rest));
}

/** Directories of a list such as PATH that a workspace has no say in: whole paths, and none inside of the workspace. */
export function safeEntries(list, env, platform) {
  const entries = platform === "win32" ? list.split(";").map((entry) => entry.replace(/^"(.*)"$/, "$1")) : list.split(":");
  return entries.filter((entry) => isWhole(entry, platform) && !inWorkspace(entry, env, platform));
}

/** Where a program may be, in the order of PATH. Without this, Windows looks in the current directory first, and an empty
 * or relative entry means it everywhere. Only `.exe`: Node starts no other kind without a shell. */
export function programPaths(name, env, platform) {
  const file = platform === "win32" ? `${name}.exe` : name;
  return safeEntries(variable(env, "PATH", platform), env, platform).map((entry) => paths(platform).join(entry, file));
}

/** What may be a Python, as program and first arguments: of a setup step, on PATH, in the runner's tool cache, whose
 * versions `list(directory)` names. */
export function pythonCommands(env, platform, list) {
  const { join } = paths(platform);
  const names = platform === "win32" ? [["python"], ["py", "-3"], ["python3"]] : [["python3"], ["python"]];
  const onPath = names.flatMap(([name, ...rest]) => programPaths(name, env, platform).map((path) => [path, ...rest]));
  const located = variable(env, "pythonLocation", platform);
  const tools = variable(env, "RUNNER_TOOL_CACHE", platform);
  const cached = (tools ? list(join(tools, "Python")).sort(byVersion) : []).flatMap((version) =>
    ["x64", "arm64"].map((arch) => [interpreterIn(join(tools, "Python", version, arch), platform)])
  );
  return [...(located ? [[interpreterIn(located, platform)]] : []), ...onPath, ...cached].filter(
    ([path]) => isWhole(path, platform) && !inWorkspace(path, env, platform)
  );
}

/** The name of our uv in uv.json. */
export function wheelName(platform, arch, musl) {
  return `${platform}${platform === "linux" && musl ? "-musl" : ""}-${arch}`;
}

function isWhole(path, platform) {
  return platform === "win32" ? /^([A-Za-z]:[\\/]|\\\\[^\\])/.test(path) : path.startsWith("/");
}

/** The newest first. */
function byVersion(one, other) {
  return other.localeCompare(one, "en", { numeric: true });
}
