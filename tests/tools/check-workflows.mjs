// GitHub's own validator (the language service of its editors) over files of actions and workflows.
//
//   node check-workflows.mjs MODULES FILE…      MODULES: the directory node_modules that has @actions/languageservice
//
// Prints FILE:LINE:COLUMN: message for each problem; 1 if there is one.

import { readFileSync } from "node:fs";
import { createRequire, register } from "node:module";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

// The packages import JSON without saying so, which Node wants said.
const hook = `export async function load(url, context, next) {
  return next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context);
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const service = await import(pathToFileURL(join(modules, "@actions/languageservice/dist/index.js")));
const { TextDocument } = require("vscode-languageserver-textdocument");

let found = 0;
for (const file of files) {
  const action = /^action\.ya?ml$/.test(basename(file));
  const document = TextDocument.create(pathToFileURL(file).href, "yaml", 1, readFileSync(file, "utf8"));
  const problems = action && service.validateAction ? await service.validateAction(document) : await service.validate(document);
  for (const { range, message } of problems) {
    process.stdout.write(`${file}:${range.start.line + 1}:${range.start.character + 1}: ${message}\n`);
    found += 1;
  }
}
process.exitCode = found ? 1 : 0;
