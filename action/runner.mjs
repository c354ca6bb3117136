// What the runner gives an action and takes from it: inputs, state, outputs, commands. No package, no shell.

import { appendFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { EOL } from "node:os";

/** An input, trimmed; empty where it was not given: the runner does not tell the two apart. */
export function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
}

/** Whether an input says yes. Throws for anything but true and false. */
export function flag(name) {
  const text = input(name).toLowerCase();
  if (["", "false"].includes(text)) return false;
  if (text === "true") return true;
  throw new Failure(`the input ${name} is ${JSON.stringify(input(name))}`, "give true or false");
}

/** Something to tell a person: what happened, and what to do. */
export class Failure extends Error {
  constructor(message, fix) {
    super(fix ? `${message}\nfix: ${fix}` : message);
  }
}

/** Keep a value for the post step. */
export function saveState(name, value) {
  append("GITHUB_STATE", name, value);
}

/** A value that the main step kept. */
export function state(name) {
  return process.env[`STATE_${name}`] ?? "";
}

/** An output of the step. */
export function output(name, value) {
  append("GITHUB_OUTPUT", name, value);
}

/** An annotation: error, warning or notice. */
export function annotate(level, message) {
  process.stdout.write(`::${level} title=ci-acme::${escape(message)}${EOL}`);
}

/** A foldable part of the log. */
export async function group(title, work) {
  process.stdout.write(`::group::${escape(title)}${EOL}`);
  try {
    return await work();
  } finally {
    process.stdout.write(`::endgroup::${EOL}`);
  }
}

function append(file, name, value) {
  const path = process.env[file];
  if (!path) return;
  const delimiter = `ghadelimiter_${randomBytes(16).toString("hex")}`;
  appendFileSync(path, `${name}<<${delimiter}${EOL}${value}${EOL}${delimiter}${EOL}`);
}

function escape(text) {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}
