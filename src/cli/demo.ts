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

const TEST_SOURCE = `import { median } from "./median.js";

const CASES = [
  { numbers: [9, 10, 1], expected: 9 },
  { numbers: [100, 9, 10, 1], expected: 9.5 },
];

for (const { numbers, expected } of CASES) {
  const actual = median(numbers);
  const isRight = actual === expected;
  const [mark, color] = isRight ? ["✓", 32] : ["✕", 31];
  const hint = isRight ? "" : ", but expected " + expected;
  console.log("\\x1b[" + color + "m" + mark + "\\x1b[0m median(" + numbers + ") is " + actual + hint);
  if (!isRight) process.exitCode = 1;
}
`;

const FILES: Readonly<Record<string, string>> = {
  "package.json":
    '{ "name": "median", "type": "module", "scripts": { "test": "node median.test.js" } }\n',
  "median.js": BROKEN_SOURCE,
  "median.test.js": TEST_SOURCE,
};

/** What the scripted model answers: written by hand, no model found any of it. */
const SCRIPT: Script = [
  { text: "I run the tests first." },
  { bash: "node median.test.js" },
  { text: "Numbers are sorted as text. I look at the source." },
  { read: { path: "median.js" } },
  {
    edit: {
      path: "median.js",
      find: "[...numbers].sort()",
      replace: "[...numbers].sort((a, b) => a - b)",
    },
  },
  { bash: "node median.test.js" },
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
  output.line(`  ${output.style("bold", "Demo")}  an agent repairs a bug in ${folder}`);
  output.line(
    "        Agent, tools, log and files are real; a script answers in the model's place.",
  );
  if (!hasGit)
    output.line("        git is not installed: the demo works in a plain folder (apt install git)");
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
  output.line(`  The demo is over, the server stays up. In a second terminal, in this folder:`);
  output.line();
  for (const [command, meaning] of [
    [`stint show ${id}`, "its state, totals and attempts"],
    [`stint diff ${id}`, "what it changed, in its own copy"],
    [`stint apply ${id}`, `bring the change to ${folder}`],
    ['stint run --model anthropic:NAME "…"', "the same with a model of your own"],
  ] as const) {
    output.line(`    ${output.hint(command).padEnd(44)}${output.style("dim", meaning)}`);
  }
  output.line();
  output.line(
    output.style("dim", "  Ctrl-C stops; what runs is paused and goes on at the next start"),
  );
}

async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
}
