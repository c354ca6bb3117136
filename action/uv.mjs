// uv from the package index, by its wheel: a zip whose digest is known. Needs nothing but Node.
//
//   node uv.mjs PATH    writes uv to PATH, which is called as in the wheel: uv or uv.exe

import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflateRawSync } from "node:zlib";
import { indexUrl } from "./environment.mjs";
import { wheelName } from "./platform.mjs";

const PATIENCE = 120_000;

/** Fetch and unpack uv to a path. Throws if it cannot be had, or is not what it should be. */
async function fetchUv(path) {
  const table = JSON.parse(readFileSync(join(dirname(fileURLToPath(import.meta.url)), "uv.json"), "utf8")).wheels;
  const key = wheelName(process.platform, process.arch, existsSync("/etc/alpine-release"));
  const [name, digest] = table[key] ?? [];
  if (!name) throw new Error(`there is no uv for ${key}`);
  const page = `${indexUrl()}/uv/`;
  const listing = await get(page, "application/vnd.pypi.simple.v1+json, text/html;q=0.5");
  const url = find(listing.toString("utf8"), name, page);
  const wheel = await get(url, "*/*");
  const found = createHash("sha256").update(wheel).digest("hex");
  if (found !== digest) throw new Error(`${name} has the SHA-256 ${found}, not ${digest}`);
  writeFileSync(path, unzip(wheel, (entry) => entry.endsWith(`/scripts/${basename(path)}`)));
  chmodSync(path, 0o700);
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
    reply = await fetch(target, { headers, signal: AbortSignal.timeout(PATIENCE) });
    data = Buffer.from(await reply.arrayBuffer());
  } catch (error) {
    throw new Error(`${target.host} does not answer (${error.cause?.code ?? error.cause?.message ?? error.name})`);
  }
  if (!reply.ok) throw new Error(`${target.host} answers ${reply.status} for ${target.pathname}`);
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
  if (!href) throw new Error(`${new URL(page).host} has no ${name}`);
  const url = new URL(href, page);
  const own = new URL(page);
  if (own.username && url.host === own.host) [url.username, url.password] = [own.username, own.password];
  return url.href;
}

/** One file of a zip, found by its name in the central directory (APPNOTE 4.3.12). */
function unzip(data, wanted) {
  const end = data.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0) throw new Error("the wheel of uv is no zip");
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
  throw new Error("the wheel of uv holds no uv");
}

fetchUv(process.argv[2]).catch((error) => {
  process.stderr.write(`${error.message.replace(/\s+/g, " ")}\n`);
  process.exitCode = 1;
});
