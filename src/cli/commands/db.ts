import { Argument, Option } from "commander";
import { addExamples, type CommandModule } from "../command.ts";

interface DbOptions {
  readonly databaseUrl?: string;
}

export const command: CommandModule<DbOptions> = {
  configure(command) {
    command.addArgument(
      new Argument("<action>", "bring the schema up to date, or say how it stands").choices([
        "migrate",
        "status",
      ]),
    );
    command.addOption(new Option("--database-url <url>", "your own Postgres (DATABASE_URL)"));
    addExamples(command, ["stint db status --json", "stint db migrate"]);
  },
  async run({ loadConfig, output, signal }, [action], { databaseUrl }) {
    const config = await loadConfig({ databaseUrl });
    const runtime = await import("../runtime.ts");
    if (action === "migrate") return runtime.migrateDatabase({ config, output, signal });
    // A read is one document: nothing may stand beside it.
    return runtime.readDatabaseStatus({ config, output: output.withoutEvents(), signal });
  },
};
