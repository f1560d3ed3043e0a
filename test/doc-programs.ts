import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, type Block } from "./doc-blocks.ts";

/** A module made of blocks of a document: its name and source. */
export interface Program {
  readonly name: string;
  readonly source: string;
}

const TSCONFIG = {
  compilerOptions: {
    module: "nodenext",
    target: "es2023",
    lib: ["es2023", "dom", "dom.iterable"],
    types: ["node"],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
    rootDir: "source",
    outDir: "out",
  },
  include: ["source"],
};

/**
 * What surrounds the blocks of one `part`: they become the body of `start`, so that what a reader
 * would have at hand already comes as its parameters.
 */
const PARTS: Readonly<Record<string, { types: string; parameters: string }>> = {
  supabase: {
    types: `
      interface ChannelStub {
        on(
          kind: "postgres_changes",
          filter: { event: "INSERT"; schema: string; table: string; filter: string },
          callback: (payload: { new: SessionEventRow }) => void,
        ): ChannelStub;
        subscribe(): ChannelStub;
      }
      interface SupabaseStub { channel(name: string): ChannelStub }
      type Show = (value?: unknown) => void;`,
    parameters: `supabase: SupabaseStub, sessionId: string, ui: Record<string, Show>,
      { updateStatus, showProgress, appendOutput, refreshFileTree, showSuccess, showError } =
        ui as Record<"updateStatus" | "showProgress" | "appendOutput" | "refreshFileTree"
          | "showSuccess" | "showError", Show>`,
  },
  "event-source": {
    types: "",
    parameters: `sessionId: string, baseUrl: string, token: string, render: Show`,
  },
};

/** Joins the blocks of each `part` into one module that exports `start`. */
export function joinParts(blocks: readonly Block[]): Program[] {
  const names = [...new Set(blocks.map(({ attributes }) => attributes["part"] ?? ""))];
  return names.map((name) => {
    const part = PARTS[name];
    if (part === undefined) throw new Error(`there is no part "${name}"`);
    const lines = blocks
      .filter(({ attributes }) => attributes["part"] === name)
      .flatMap(({ text }) => text.split("\n"));
    const imports = lines.filter((line) => line.startsWith("import "));
    const body = lines.filter((line) => !line.startsWith("import "));
    const show = part.types.includes("type Show") ? "" : "type Show = (value?: unknown) => void;";
    const head = [...imports, part.types, show].join("\n");
    const source = `${head}\nexport function start(${part.parameters}) {\n${body.join("\n")}\n}\n`;
    return { name, source };
  });
}

/** A module that compiles only if an entry point exports all of these names. */
export function importNames(name: string, entry: string, names: readonly string[]): Program {
  return { name, source: `export type { ${names.join(", ")} } from "${entry}";\n` };
}

/**
 * Makes a project in a folder as a user would: the package in its `node_modules`, its compiled
 * entry points and their types, nothing else.
 */
export class UserProject {
  readonly path: string;

  constructor(path: string, programs: readonly Program[]) {
    this.path = path;
    mkdirSync(join(path, "source"), { recursive: true });
    mkdirSync(join(path, "node_modules", "@types"), { recursive: true });
    symlinkSync(ROOT, join(path, "node_modules", "stint"));
    for (const name of ["@types/node", "undici-types"]) {
      symlinkSync(join(ROOT, "node_modules", name), join(path, "node_modules", name));
    }
    writeFileSync(join(path, "package.json"), '{ "type": "module", "private": true }\n');
    writeFileSync(join(path, "tsconfig.json"), JSON.stringify(TSCONFIG));
    for (const { name, source } of programs) {
      writeFileSync(join(path, "source", `${name}.ts`), source);
    }
  }

  /** Type-checks and compiles everything; what the compiler said, empty when it is content. */
  compile(): string {
    const compiler = join(ROOT, "node_modules", "typescript7", "bin", "tsc");
    const { stdout, stderr } = spawnSync(process.execPath, [compiler, "-p", this.path], {
      encoding: "utf8",
      cwd: this.path,
    });
    return `${stdout}${stderr}`;
  }

  /** Path of a compiled program. */
  locate(name: string): string {
    return join(this.path, "out", `${name}.js`);
  }

  /** Starts a compiled program. */
  start(name: string, env: Readonly<Record<string, string>>): ProgramRun {
    return new ProgramRun(process.execPath, [this.locate(name)], this.path, env);
  }
}

/** A child process with all that it says. */
export class ProgramRun {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  stdout = "";
  stderr = "";

  constructor(
    command: string,
    args: readonly string[],
    cwd: string,
    env: Readonly<Record<string, string>>,
  ) {
    const { PATH = "", HOME = "/root", LANG = "C.UTF-8" } = process.env;
    this.child = spawn(command, args, {
      cwd,
      env: { PATH, HOME, LANG, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.exited = new Promise((resolve) => this.child.on("close", resolve));
  }

  /** Waits for a good end. Throws with what it said on any other. */
  async succeed(): Promise<string> {
    const code = await this.exited;
    if (code === 0) return this.stdout;
    throw new Error(`ended with ${code}:\n${this.stdout}\n${this.stderr}`);
  }
}
