// The step: an environment with the locked packages, then ci-acme itself, which is told when the job is cancelled.

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cleanEnvironment, run } from "./child.mjs";
import { commandLine, variables } from "./command.mjs";
import { whyNot } from "./pulls.mjs";
import { HERE, interpreter, makeEnvironment } from "./python.mjs";
import { Failure, annotate, group, input, output, saveState } from "./runner.mjs";

let stopped = 0;
for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143]]) process.on(signal, () => (stopped ||= status));

async function main() {
  const args = commandLine();
  const reason = whyNot();
  if (reason) {
    annotate("notice", `nothing was done: ${reason}`);
    output("changed", "false");
    output("certificates", "[]");
    return 0;
  }
  const scratch = mkdtempSync(join(process.env.RUNNER_TEMP || tmpdir(), "ci-acme-"));
  saveState("directory", scratch);
  const environment = join(scratch, "environment");
  const named = variables(join(scratch, "report.json"));
  const env = cleanEnvironment(named);
  await group("Prepare ci-acme", () => prepare(environment, scratch, env));
  if (stopped) return stopped;
  saveState("ready", "true");
  saveState("variables", JSON.stringify(named));
  saveState("skip", input("skip-post"));
  const done = await run(interpreter(environment), ["-I", join(HERE, "run.py"), ...args], { env });
  return done.status;
}

/** The base packages, and those of the extras that the config names; a config with problems is for ci-acme to tell. */
async function prepare(environment, scratch, env) {
  const install = await makeEnvironment(environment, scratch);
  const python = interpreter(environment);
  const asked = await run(python, ["-I", join(HERE, "run.py"), "config", "extras"], { env: { ...env, GITHUB_ACTIONS: "" }, quiet: true });
  const extras = asked.status === 0 ? asked.stdout.split(/\s+/).filter(Boolean) : [];
  if (extras.length) await install(extras);
  process.stdout.write(`ready${extras.length ? `, with ${extras.join(", ")}` : ""}\n`);
}

main().then(
  (status) => (process.exitCode = stopped || status),
  (error) => {
    annotate("error", error instanceof Failure ? error.message : `a defect of the action: ${error.stack}`);
    process.exitCode = stopped || 2;
  }
);
