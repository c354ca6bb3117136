// Pull requests of forks: their jobs get no secrets, so that they end without a failure and with the recipe; and a job
// that has secrets must not run what a fork wrote.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./runner.mjs";

const RECIPE =
  "a pull request of a fork has no secrets and no identity token; issue for it from a branch of this repository, or " +
  "from a workflow_run workflow that checks out the base branch and takes the number of the pull request only";

/** Why this job does nothing, null if it has work. Throws `Failure` for a job that would run a stranger's files. */
export function whyNot() {
  const event = readEvent();
  const name = process.env.GITHUB_EVENT_NAME ?? "";
  const pull = event.pull_request;
  const fork = Boolean(pull?.head) && pull.head.repo?.full_name !== event.repository?.full_name;
  if (holdsStrangersFiles(name, event)) {
    throw new Failure(
      `this job runs on ${name} and has checked out the pull request: whoever opened it could take the secrets of this repository`,
      "leave out the ref of actions/checkout, or use the event pull_request"
    );
  }
  const trusted = Boolean(process.env.ACTIONS_ID_TOKEN_REQUEST_URL);
  return name === "pull_request" && fork && !trusted ? RECIPE : null;
}

/** Whether the workspace has what a pull request brings, in a job that has the secrets of the repository: its head, or
 * GitHub's merge of it with the base, by commit or by the ref that actions/checkout makes for refs/pull/N/…. */
function holdsStrangersFiles(name, event) {
  const commits =
    name === "pull_request_target"
      ? [event.pull_request?.head?.sha, event.pull_request?.merge_commit_sha, ...pullRefs(event.number)]
      : name === "workflow_run" && event.workflow_run?.head_repository?.full_name !== event.repository?.full_name
        ? [event.workflow_run?.head_sha]
        : [];
  const found = checkedOut();
  return found !== "" && commits.includes(found);
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
  const head = readGit("HEAD");
  return head.startsWith("ref: ") ? reference(head.slice(5)) : head;
}

function pullRefs(number) {
  return ["head", "merge"].map((kind) => reference(`refs/remotes/pull/${number}/${kind}`)).filter(Boolean);
}

/** What a ref points to: git has it in a file of its own, or in one with others. */
function reference(name) {
  const packed = readGit("packed-refs").split("\n").find((line) => line.endsWith(` ${name}`));
  return readGit(name) || (packed ? packed.split(" ")[0] : "");
}

function readGit(name) {
  try {
    return readFileSync(join(process.env.GITHUB_WORKSPACE ?? "", ".git", name), "utf8").trim();
  } catch {
    return "";
  }
}
