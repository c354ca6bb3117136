// The step: an environment with the locked packages, then ci-acme itself, which is told when the job is cancelled.

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Stopped, listen, run, stopped } from "./child.mjs";
import { commandLine, mayLeaveRecords, variables } from "./command.mjs";
import { cleanEnvironment } from "./environment.mjs";
import { whyNot } from "./pulls.mjs";
import { interpreter, makeEnvironment, program } from "./python.mjs";
import { Failure, annotate, flag, group, output, saveState } from "./runner.mjs";

listen();

async function main() {
  const args = commandLine();
  const skip = flag("skip-post");
  const reason = whyNot();
  if (reason) {
    annotate("notice", `nothing was done: ${reason}`);
    output("changed", "false");
    output("certificates", "[]");
    return 0;
  }
  const scratch = makeScratch();
  saveState("directory", scratch);
  const environment = join(scratch, "environment");
  const named = variables(join(scratch, "report.json"));
  const env = cleanEnvironment(named);
  await group("Prepare ci-acme", () => prepare(environment, scratch, env));
  saveState("ready", String(mayLeaveRecords()));
  saveState("variables", JSON.stringify(named));
  saveState("skip", String(skip));
  const done = await run(interpreter(environment), [...program(scratch), ...args], { env, last: true });
  saveState("ended", String(done.status));
  return done.status;
}

/** A directory of ours alone. Throws `Failure`. */
function makeScratch() {
  const parent = process.env.RUNNER_TEMP || tmpdir();
  try {
    return mkdtempSync(join(parent, "ci-acme-"));
  } catch (error) {
    throw new Failure(`nothing can be written to ${parent} (${error.code})`, "let RUNNER_TEMP be a directory that the runner's user may write to");
  }
}

/** The base packages, and those of the extras that the config names; a config with problems is for ci-acme to tell. */
async function prepare(environment, scratch, env) {
  const install = await makeEnvironment(environment, scratch);
  const python = interpreter(environment);
  const asked = await run(python, [...program(scratch), "config", "extras"], { env: { ...env, GITHUB_ACTIONS: "" }, quiet: true });
  const extras = asked.status === 0 ? asked.stdout.split(/\s+/).filter(Boolean) : [];
  if (extras.length) await install(extras);
  process.stdout.write(`ready${extras.length ? `, with ${extras.join(", ")}` : ""}\n`);
}

main().then(
  // A run that was cancelled too late to matter has ended well, and the runner says cancelled by itself.
  (status) => (process.exitCode = status),
  (error) => {
    if (!(error instanceof Stopped)) annotate("error", error instanceof Failure ? error.message : `a defect of the action: ${error.stack}`);
    process.exitCode = stopped.aborted ? stopped.reason.status : 2;
  }
);
