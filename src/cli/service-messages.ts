import { isAbsolute, relative } from "node:path";
import type { Store } from "../core/store.ts";
import type { Database } from "./database.ts";
import { runDemo } from "./demo.ts";
import type { Output } from "./output.ts";

/** What the demo of a fresh database runs on. */
export interface WelcomeOptions {
  readonly store: Store;
  readonly output: Output;
  readonly server: { readonly url: string; readonly token: string };
  readonly signal: AbortSignal;
  /** Whether the demo was asked for, and can run here. */
  readonly mayRunDemo: boolean;
}

/** Where the database is. */
export function describeDatabase({ kind, isNew }: Database, dataDir: string): string {
  if (kind === "external") return "your own, by DATABASE_URL";
  const folder = relative(process.cwd(), dataDir);
  const isBelow = folder !== "" && !folder.startsWith("..") && !isAbsolute(folder);
  return `embedded Postgres in ${isBelow ? folder : dataDir}${isNew ? ", new" : ""}`;
}

/** Runs the demo where nothing has run yet, and says what to try. */
export async function welcome(options: WelcomeOptions): Promise<void> {
  const { store, output, server, signal } = options;
  const { sessions } = await store.readStats();
  const kept = Object.entries(sessions).filter(([, count]) => count > 0);
  if (options.mayRunDemo && kept.length === 0) {
    await runDemo({ url: server.url, token: server.token, output, signal });
    return;
  }
  output.line();
  if (kept.length > 0) {
    const counts = kept.map(([state, count]) => `${count} ${state}`).join(" · ");
    output.line(`  Your sessions are kept: ${counts}`);
    output.line(output.hint("  See them:  stint ls"));
  }
  output.line(output.hint('  Start one: stint run --model anthropic:NAME "fix the failing test"'));
  output.line(
    output.style("dim", "  Ctrl-C stops; what runs is paused and goes on at the next start"),
  );
}

/** Which models can be called from here; the variables say where the keys would be. */
export function describeModels(env: Readonly<Record<string, string | undefined>>): string {
  const isSet = (name: string): boolean => (env[name] ?? "").trim() !== "";
  const anthropic = isSet("ANTHROPIC_API_KEY") ? "✓" : "✕ no ANTHROPIC_API_KEY";
  const openai = isSet("OPENAI_API_KEY") || isSet("OPENAI_BASE_URL") ? "✓" : "✕ no OPENAI_API_KEY";
  const hasGemini = isSet("GEMINI_API_KEY") || isSet("GOOGLE_API_KEY");
  const gemini = hasGemini ? "✓" : "✕ no GEMINI_API_KEY";
  return `scripted ✓ · anthropic ${anthropic} · openai ${openai} · gemini ${gemini}`;
}

/** Says that the process ends, and how many sessions it pauses. */
export function sayGoodbye(output: Output, count: number): void {
  if (count === 0) {
    output.line("\n  stopping…");
    return;
  }
  output.line(`\n  pausing ${count === 1 ? "1 session" : `${count} sessions`}…`);
  output.event("pausing", { sessions: count });
}
