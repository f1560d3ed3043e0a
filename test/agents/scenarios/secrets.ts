import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "pg";
import { runStint } from "../../e2e/stint-process.ts";
import { type Findings, Notes } from "../scenario.ts";
import { describe, Scene, type SceneOptions } from "../scene.ts";

const TASK = "Scene four: look for a key.";
/** All that a command can see of its own kind: variables, processes, files of the agent. */
export const LOOK_FOR_KEYS =
  `({ printenv; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ` +
  `find /home/agent /run /tmp /etc -type f -size -2000k -exec cat {} + ; } > seen.txt 2>&1; wc -c seen.txt)`;

/** The worker's key is nowhere but in the worker: not in the sandbox, the log, the stream, the data. */
export async function runSecrets({
  plan,
  cache,
}: Pick<SceneOptions, "plan" | "cache">): Promise<Findings> {
  const notes = new Notes();
  const script = [{ bash: LOOK_FOR_KEYS }, { bash: "printenv" }, { text: "All of it is done." }];
  const scene = await Scene.open({ plan, cache, writeScript: () => script });
  const { canary } = scene;
  try {
    const { id } = await scene.create(TASK);
    const session = await scene.ended(id);
    notes.expect(session.status === "completed", `it ended as ${describe(session)}`);
    const seen = (await scene.readWorkspace(id, "seen.txt")) ?? "";
    // It did look: what is in every environment of a session is there.
    notes.expect(seen.includes(`STINT_SESSION=${id}`), "the command saw no environment");
    if (plan.model !== null)
      notes.expect(scene.model.keys.includes(canary), "the key was not used at all");
    const places = {
      "the sandbox": seen,
      "the log": JSON.stringify(await scene.log(id)),
      "the stream": await scene.readStream(id),
      "what the worker prints": scene.processes
        .map(({ stderr, lines }) => stderr + JSON.stringify(lines))
        .join(),
      "the session": JSON.stringify(session),
    };
    for (const [place, text] of Object.entries(places)) {
      notes.expect(!text.includes(canary), `the key is in ${place}`);
    }
    const tables = await searchDatabase(scene.dataDir, canary, id, notes);
    const files = await searchFiles(scene.dataDir, canary, notes);
    notes.facts["searchedTables"] = tables;
    notes.facts["searchedFiles"] = files;
    return notes;
  } finally {
    await scene.close();
  }
}

/** Every row of every table as text; the same search finds the session's id. */
async function searchDatabase(
  dataDir: string,
  canary: string,
  id: string,
  notes: Notes,
): Promise<number> {
  const { stdout } = await runStint(["db", "status", "--json"], { dataDir });
  const { url } = JSON.parse(stdout) as { url: string };
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables
       where schemaname not in ('pg_catalog', 'information_schema')`,
    );
    let isFound = false;
    for (const { name } of rows) {
      const search = `select exists (select from ${name} as t where t::text like '%' || $1 || '%') as found`;
      const has = async (text: string): Promise<boolean> =>
        (await client.query<{ found: boolean }>(search, [text])).rows[0]?.found === true;
      notes.expect(!(await has(canary)), `the key is in the table ${name}`);
      isFound ||= await has(id);
    }
    notes.expect(isFound, "the search of the database found not even the session");
    return rows.length;
  } finally {
    await client.end();
  }
}

/** Every file of the data folder, byte by byte; the agents' programs excepted. */
async function searchFiles(dataDir: string, canary: string, notes: Notes): Promise<number> {
  const entries = await readdir(dataDir, { recursive: true, withFileTypes: true });
  let count = 0;
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    count += 1;
    if (await holds(path, canary)) notes.violations.push(`the key is in the file ${path}`);
  }
  return count;
}

async function holds(path: string, text: string): Promise<boolean> {
  let rest = "";
  try {
    for await (const chunk of createReadStream(path, { encoding: "latin1" })) {
      const piece = rest + String(chunk);
      if (piece.includes(text)) return true;
      rest = piece.slice(-text.length);
    }
  } catch {
    // Gone meanwhile: then nobody can read it any more.
  }
  return false;
}
