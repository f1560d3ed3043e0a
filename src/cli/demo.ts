import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createClient } from "../client/client.ts";
import type { Script } from "../core/script.ts";
import { createRepository } from "../workspace/new-repository.ts";
import type { Output } from "./output.ts";

/** What the demo needs. */
export interface DemoOptions {
  readonly url: string;
  readonly token: string;
  readonly output: Output;
  readonly signal: AbortSignal;
}

const PROMPT = "The test fails. Find out why, repair it, and prove it.";

const BROKEN_SOURCE = `export function median(numbers) {
  const sorted = [...numbers].sort();
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
`;

const TEST_SOURCE = `import assert from "node:assert/strict";
import { test } from "node:test";
import { median } from "./median.js";

test("the median of an odd number of values is the middle one", () => {
  assert.equal(median([9, 10, 1]), 9);
});

test("the median of an even number of values is the mean of the middle two", () => {
  assert.equal(median([100, 9, 10, 1]), 9.5);
});
`;

const FILES: Readonly<Record<string, string>> = {
  "package.json": '{ "name": "median", "type": "module", "scripts": { "test": "node --test" } }\n',
  "median.js": BROKEN_SOURCE,
  "median.test.js": TEST_SOURCE,
};

/** What the scripted model answers: written by hand, no model found any of it. */
const SCRIPT: Script = [
  { text: "I run the tests first." },
  { bash: "node --test" },
  { text: "Numbers are sorted as text. I look at the source." },
  { read: { path: "median.js" } },
  {
    edit: {
      path: "median.js",
      find: "[...numbers].sort()",
      replace: "[...numbers].sort((a, b) => a - b)",
    },
  },
  { bash: "node --test" },
  { text: "median() sorted its numbers as text, so 10 came before 9. It compares numbers now." },
];

/**
 * Runs a session with a scripted model in a repository of its own, a bug and its failing test in
 * it, and shows its log as it grows. The agent, its tools and the log are real; the model is not.
 */
export async function runDemo({ url, token, output, signal }: DemoOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "stint-demo-"));
  await writeFiles(folder, FILES);
  const hasGit = await createRepository(folder, "A median with a bug");
  output.line();
  output.line(`  Demo: a scripted model (no key, no network) repairs a bug in ${folder}`);
  if (!hasGit)
    output.line("  git is not installed: the demo works in a plain folder (apt install git)");
  output.line();
  const client = createClient({ url, token });
  const session = await client.sessions.create({
    prompt: PROMPT,
    agent: "builtin",
    model: "scripted",
    script: SCRIPT,
    workspace: { source: folder },
  });
  for await (const event of client.subscribe(session.id, { signal })) output.sessionEvent(event);
  if (signal.aborted) return;
  const ended = await client.sessions.get(session.id);
  const id = ended.id.slice(0, 8);
  output.event("demo", { sessionId: ended.id, status: ended.status, workspace: folder });
  output.line();
  output.line(
    `  Session ${id} ${ended.status}. Stint goes on running here; in a second terminal try:`,
  );
  output.line(`    npx stint show ${id}       its state, totals and attempts`);
  output.line(`    npx stint diff ${id}       what it changed, in its own copy`);
  output.line(`    npx stint apply ${id}      bring the change to ${folder}`);
  output.line('    npx stint run --model anthropic:NAME "…"    with a model of your own');
}

async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
}
