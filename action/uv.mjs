// uv from the package index, by its wheel: a zip whose digest is known. Needs nothing but Node.

import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inflateRawSync } from "node:zlib";
import { HERE } from "./python.mjs";
import { stopped } from "./child.mjs";
import { Failure } from "./runner.mjs";

const PATIENCE = 120_000;

/** The package index: pip's and uv's variables, else PyPI. */
export function indexUrl() {
  const named = process.env.UV_DEFAULT_INDEX || process.env.UV_INDEX_URL || process.env.PIP_INDEX_URL;
  return (named || "https://pypi.org/simple").replace(/\/+$/, "");
}

/** Fetch and unpack uv; returns its path. Throws `Failure` if it cannot be had, or is not what it should be. */
export async function fetchUv(scratch) {
  const table = JSON.parse(readFileSync(join(HERE, "uv.json"), "utf8")).wheels;
  const [name, digest] = table[platform()] ?? [];
  if (!name) throw new Failure(`there is no uv for ${platform()}`, "");
  const page = `${indexUrl()}/uv/`;
  const listing = await get(page, "application/vnd.pypi.simple.v1+json, text/html;q=0.5");
  const url = find(listing.toString("utf8"), name, page);
  const wheel = await get(url, "*/*");
  const found = createHash("sha256").update(wheel).digest("hex");
  if (found !== digest) throw new Failure(`${name} has the SHA-256 ${found}, not ${digest}`, "");
  const program = process.platform === "win32" ? "uv.exe" : "uv";
  const path = join(scratch, program);
  writeFileSync(path, unzip(wheel, (entry) => entry.endsWith(`/scripts/${program}`)));
  chmodSync(path, 0o700);
  return path;
}

function platform() {
  const musl = process.platform === "linux" && existsSync("/etc/alpine-release") ? "-musl" : "";
  return `${process.platform}${musl}-${process.arch}`;
}

async function get(url, accept) {
  const target = new URL(url);
  const headers = { accept, "user-agent": "ci-acme" };
  if (target.username) {
    const pair = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
    headers.authorization = `Basic ${Buffer.from(pair).toString("base64")}`;
    target.username = target.password = "";
  }
  let reply, data;
  try {
    reply = await fetch(target, { headers, signal: AbortSignal.any([AbortSignal.timeout(PATIENCE), stopped]) });
    data = Buffer.from(await reply.arrayBuffer());
  } catch (error) {
    stopped.throwIfAborted();
    throw new Failure(`${target.host} does not answer (${error.cause?.code ?? error.name})`, "");
  }
  if (!reply.ok) throw new Failure(`${target.host} answers ${reply.status} for ${target.pathname}`, "");
  return data;
}

/** The address of a file in a listing of the simple API (PEP 503, PEP 691). */
function find(listing, name, page) {
  let href;
  if (listing.trimStart().startsWith("{")) {
    href = JSON.parse(listing).files.find((file) => file.filename === name)?.url;
  } else {
    for (const [, address, text] of listing.matchAll(/<a\s[^>]*href="([^"]+)"[^>]*>([^<]+)<\/a>/g)) {
      if (text.trim() === name) href = address.replaceAll("&amp;", "&");
    }
  }
  if (!href) throw new Failure(`${new URL(page).host} has no ${name}`, "");
  const url = new URL(href, page);
  const own = new URL(page);
  if (own.username && url.host === own.host) [url.username, url.password] = [own.username, own.password];
  return url.href;
}

/** One file of a zip, found by its name in the central directory (APPNOTE 4.3.12). */
function unzip(data, wanted) {
  const end = data.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0) throw new Failure("the wheel of uv is no zip", "");
  let at = data.readUInt32LE(end + 16);
  for (let left = data.readUInt16LE(end + 10); left > 0; left -= 1) {
    const [method, size] = [data.readUInt16LE(at + 10), data.readUInt32LE(at + 20)];
    const [name, extra, comment] = [28, 30, 32].map((offset) => data.readUInt16LE(at + offset));
    const local = data.readUInt32LE(at + 42);
    if (wanted(data.toString("utf8", at + 46, at + 46 + name))) {
      const begin = local + 30 + data.readUInt16LE(local + 26) + data.readUInt16LE(local + 28);
      const packed = data.subarray(begin, begin + size);
      return method === 0 ? packed : inflateRawSync(packed);
    }
    at += 46 + name + extra + comment;
  }
  throw new Failure("the wheel of uv holds no uv", "");
}
