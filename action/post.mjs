// The end of the job: challenge records that an interrupted run left are removed, and so is everything of ours.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { run } from "./child.mjs";
import { cleanEnvironment } from "./environment.mjs";
import { interpreter, program } from "./python.mjs";
import { annotate, group, state } from "./runner.mjs";

async function main() {
  const directory = state("directory");
  if (!directory) return;
  const begun = state("ready") === "true" && state("ended") !== "2"; // 2: a wrong config, and nothing was contacted
  try {
    if (begun && state("skip") !== "true") await group("Clean up", () => cleanUp(directory));
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  }
}

async function cleanUp(directory) {
  const { CI_ACME_REPORT, ...named } = JSON.parse(state("variables") || "{}");
  const python = interpreter(join(directory, "environment"));
  const env = cleanEnvironment({ ...named, GITHUB_OUTPUT: "", GITHUB_STEP_SUMMARY: "" });
  const done = await run(python, [...program(directory), "cleanup"], { env });
  if (done.status !== 0) {
    annotate("warning", "challenge records of this job may be left; the next run with the same state removes them");
  }
}

main().catch((error) => annotate("warning", `the clean-up failed: ${error.message}`));
