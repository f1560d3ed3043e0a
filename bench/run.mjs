// `npm run bench [name]`: runs every *.bench.mjs here, or those whose name contains the word, one after
// another, each in its own process, on the compiled code in dist.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const wanted = process.argv[2] ?? "";
const names = readdirSync(folder).filter(
  (name) => name.endsWith(".bench.mjs") && name.includes(wanted),
);
if (names.length === 0) console.error(`no benchmark here is named like "${wanted}"`);
for (const name of names.sort()) {
  console.log(`\n== ${name}`);
  const { status } = spawnSync(process.execPath, [folder + name], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
