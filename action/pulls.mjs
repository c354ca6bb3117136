// Pull requests of forks: their jobs get no secrets, so that they end without a failure and with the recipe; and a job
// that has secrets must not run what a fork wrote.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./runner.mjs";

const RECIPE =
  "a pull request of a fork has no secrets and no identity token; issue for it from a branch of this repository, or " +
  "from a workflow_run workflow that checks out the base branch and takes the number of the pull request only";

/** Why this job does nothing, null if it has work. Throws `Failure` for a job that would run a fork's files. */
export function whyNot() {
  const event = readEvent();
  const head = event.pull_request?.head;
  const fork = Boolean(head) && head.repo?.full_name !== event.repository?.full_name;
  const name = process.env.GITHUB_EVENT_NAME ?? "";
  if (name === "pull_request_target" && head?.sha && checkedOut() === head.sha) {
    throw new Failure(
      "this job runs on pull_request_target and has checked out the pull request: whoever opened it could take the " +
        "secrets of this repository",
      "leave out the ref of actions/checkout, or use the event pull_request"
    );
  }
  const trusted = Boolean(process.env.ACTIONS_ID_TOKEN_REQUEST_URL);
  return name === "pull_request" && fork && !trusted ? RECIPE : null;
}

function readEvent() {
  try {
    return JSON.parse(readFileSync(process.env.GITHUB_EVENT_PATH ?? "", "utf8")) ?? {};
  } catch {
    return {};
  }
}

/** The commit that stands in the workspace, as git has it; empty if there is none. */
function checkedOut() {
  const git = join(process.env.GITHUB_WORKSPACE ?? "", ".git");
  try {
    const head = readFileSync(join(git, "HEAD"), "utf8").trim();
    return head.startsWith("ref: ") ? readFileSync(join(git, head.slice(5)), "utf8").trim() : head;
  } catch {
    return "";
  }
}
