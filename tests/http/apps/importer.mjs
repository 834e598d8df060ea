// An importer of another app, in JavaScript without a package: it pulls Event Files into a JSON document.
// Run it with the URL of the server, the name of the Flow, and the path of the document; the token is in PIPELINE_TOKEN.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

const [server, flow, path] = process.argv.slice(2);
const base = `${server}/api/v1/apps/${flow}/import`;
const tables = existsSync(path) ? JSON.parse(readFileSync(path)) : {};

async function call(where, body) {
  const headers = { Authorization: `Bearer ${process.env.PIPELINE_TOKEN}`, "Content-Type": "application/json" };
  const options = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(`${base}${where}`, options);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function* filesOf(group) {
  for (let after = ""; after !== null; ) {
    const page = await call(`${group}/files${after && `?after=${encodeURIComponent(after)}`}`);
    yield* page.items;
    after = page.next;
  }
}

async function load(url) {
  const answer = await fetch(`${server}${url}&encoding=plain`);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  const [header, ...records] = (await answer.text()).trimEnd().split("\n").map((line) => JSON.parse(line));
  const table = (tables[header.table] ??= {});
  for (const record of records) {
    const [[kind, row]] = Object.entries(record);
    const key = JSON.stringify(header.primaryKeys.map((name) => row[name]));
    if (kind === "delete") delete table[key];
    else table[key] = row;
  }
  writeFileSync(`${path}.new`, JSON.stringify(tables));
  renameSync(`${path}.new`, path);
}

let state = await call("");
while (!state.settled) {
  for (const group of state.groups) {
    for await (const file of filesOf(`/${state.movement}/groups/${encodeURIComponent(group.label)}`)) {
      if (file.imported) continue;
      await load(file.url);
      await call(`/${state.movement}/status`, { files: [{ file: file.file, status: "imported" }] });
    }
  }
  state = await call(`?wait=5&seen=${encodeURIComponent(state.version)}`);
}
console.log(JSON.stringify(state));
