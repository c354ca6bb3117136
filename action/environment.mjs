// The environment of what we start: the job's own, without what would change which code runs.

import { paths, safeEntries, variable } from "./platform.mjs";

// Loaders, interpreters, shells in front of a program; and the runner's files that change the steps after us.
const DROPPED =
  /^(PYTHON.*|__PYVENV_LAUNCHER__|VIRTUAL_ENV.*|PYENV_VERSION|LD_.*|DYLD_.*|GCONV_PATH|OPENSSL_(CONF|MODULES|ENGINES)|BASH_.*|ENV|SHELLOPTS|BASHOPTS|PS4|NODE_OPTIONS|NODE_PATH|INPUT_.*|STATE_.*|GITHUB_(ENV|PATH|STATE)|UV_.*|PIP_.*)$/i;
// Of uv and pip: where packages come from, whose hashes we know, and how they are fetched; not what is installed or how.
const INSTALLERS =
  /^(UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_.*_(USERNAME|PASSWORD)|FIND_LINKS|INSECURE_HOST|KEYRING_PROVIDER|NATIVE_TLS|SYSTEM_CERTS|HTTP_.*|REQUEST_TIMEOUT|CONCURRENT_.*|LINK_MODE|OFFLINE|PYTHON_DOWNLOADS|PYTHON_INSTALL_MIRROR|PYTHON_PREFERENCE|(NO_)?MANAGED_PYTHON)|PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TRUSTED_HOST|CERT|CLIENT_CERT|PROXY|TIMEOUT|DEFAULT_TIMEOUT|RETRIES|KEYRING_PROVIDER))$/i;
// The same, if it is none of the workspace's files.
const OUTSIDE = /^(UV_PYTHON_INSTALL_DIR|PIP_CONFIG_FILE)$/i;
const REMOTE = /^UV_PYTHON_DOWNLOADS_JSON_URL$/i;

/** The environment of a program that we start, with `more` in it. Variables that are empty are left out: a workflow that
 * passes on a variable of the repository cannot leave it out where there is none. */
export function cleanEnvironment(more = {}, env = process.env, platform = process.platform) {
  const kept = Object.entries(env).filter(([name, value]) => value !== "" && stays(name, value, env, platform));
  return merged(kept, { ...libraries(env, platform), ...more }, platform);
}

// Files and directories that are read from: what fetches and installs does not run in the workspace.
const LISTS = /^(UV|PIP)_FIND_LINKS$/i;
const PLACES = /^(PIP_(CLIENT_)?CERT|SSL_(CLIENT_)?CERT(_FILE|_DIR)?|NODE_EXTRA_CA_CERTS|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$/i;

/** The same for what fetches and installs: it needs no identity of the job, and uv and Node hear of pip's mirror. */
export function installerEnvironment(more = {}, env = process.env, platform = process.platform, cwd = process.cwd()) {
  const kept = Object.entries(cleanEnvironment(mirror(env), env, platform)).filter(([name]) => !/^(ACTIONS_|GITHUB_TOKEN$)/i.test(name));
  const { resolve } = paths(platform);
  const whole = (part) => (part.includes("://") ? part : resolve(cwd, part));
  const all = (value) => value.replace(/[^\s,]+/g, whole);
  const found = kept.map(([name, value]) => [name, LISTS.test(name) ? all(value) : PLACES.test(name) ? whole(value) : value]);
  return merged(found, more, platform);
}

/** What we say goes before what the job says, also where Windows takes two names for one. */
function merged(entries, more, platform) {
  const same = (name) => (platform === "win32" ? name.toUpperCase() : name);
  const given = new Set(Object.keys(more).map(same));
  return { ...Object.fromEntries(entries.filter(([name]) => !given.has(same(name)))), ...more };
}

function stays(name, value, env, platform) {
  if (!DROPPED.test(name) || INSTALLERS.test(name)) return true;
  if (OUTSIDE.test(name)) return safeEntries(value, env, platform).join() === value;
  return REMOTE.test(name) && /^https?:\/\//i.test(value);
}

/** actions/setup-python names the directory of libpython, and Software Collections do: Linux needs it to start Python. */
function libraries(env, platform) {
  const entries = platform === "linux" ? safeEntries(variable(env, "LD_LIBRARY_PATH", platform), env, platform) : [];
  return entries.length ? { LD_LIBRARY_PATH: entries.join(":") } : {};
}

/** What pip's variables say and uv and Node would not hear: who has a mirror for pip has it for them as well. */
function mirror(env) {
  const bundle = env.SSL_CERT_FILE || env.PIP_CERT || env.REQUESTS_CA_BUNDLE;
  return {
    ...(bundle ? { SSL_CERT_FILE: bundle, NODE_EXTRA_CA_CERTS: env.NODE_EXTRA_CA_CERTS || bundle } : {}),
    ...(env.PIP_INDEX_URL && !env.UV_DEFAULT_INDEX && !env.UV_INDEX_URL ? { UV_DEFAULT_INDEX: indexUrl(env) } : {}),
  };
}

/** The package index: pip's and uv's variables, else PyPI. */
export function indexUrl(env = process.env) {
  const named = env.UV_DEFAULT_INDEX || env.UV_INDEX_URL || env.PIP_INDEX_URL;
  return (named || "https://pypi.org/simple").replace(/\/+$/, "");
}
