// From the action's inputs to a command of ci-acme: arguments and variables, and nothing that a shell would read.

import { Failure, flag, input } from "./runner.mjs";

const COMMANDS = ["issue", "plan", "check", "retire", "revoke", "cleanup", "inventory", "monitor", "permissions", "report"];
const CHANGES_NOTHING = ["plan", "inventory", "monitor", "permissions", "report"];
const VARIABLES = {
  config: "CI_ACME_CONFIG",
  domains: "CI_ACME_DOMAIN",
  dns: "CI_ACME_DNS",
  stores: "CI_ACME_STORE",
  authority: "CI_ACME_CA",
  email: "CI_ACME_EMAIL",
  environment: "CI_ACME_ENVIRONMENT",
  state: "CI_ACME_STATE",
};
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** Whether the command may leave challenge records if it is interrupted. */
export function mayLeaveRecords() {
  return !CHANGES_NOTHING.includes(input("command") || "issue");
}

/** The arguments after `ci-acme`. Throws `Failure` for inputs that make no sense. */
export function commandLine() {
  const command = input("command") || "issue";
  if (!COMMANDS.includes(command)) {
    throw new Failure(`the input command is ${JSON.stringify(command)}`, `use one of: ${COMMANDS.join(", ")}`);
  }
  if (command === "report") return [command, ...reports()];
  const names = input("certificate").split(/\s+/).filter(Boolean);
  const wrong = names.find((name) => !NAME.test(name));
  if (wrong) {
    throw new Failure(
      `the input certificate has ${JSON.stringify(wrong)}, which is no name of a certificate`,
      "give names as they stand in the config, separated by spaces"
    );
  }
  return [command, ...(flag("force") && command === "issue" ? ["--force"] : []), ...names];
}

/** The files and directories of the input reports, one a line. */
function reports() {
  const paths = input("reports").split(/[\r\n]+/).map((path) => path.trim()).filter(Boolean);
  const wrong = paths.find((path) => path.startsWith("-"));
  if (wrong) throw new Failure(`the input reports has ${JSON.stringify(wrong)}`, "give paths of files or directories, one a line");
  return paths;
}

/** The variables of the inputs that are given; an input goes before a variable of the same meaning. */
export function variables(report) {
  const given = Object.entries(VARIABLES).filter(([name]) => input(name) !== "");
  const found = Object.fromEntries(given.map(([name, variable]) => [variable, input(name)]));
  if (input("summary") !== "" && !flag("summary")) found.CI_ACME_NO_SUMMARY = "true";
  return { ...found, CI_ACME_REPORT: report };
}
