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
  async run({ loadConfig, output }, [action], { databaseUrl }) {
    const config = await loadConfig({ databaseUrl });
    const schema = await import("../database-schema.ts");
    if (action === "migrate") return schema.migrateDatabase({ config, output });
    // A read is one document: nothing may stand beside it.
    return schema.readDatabaseStatus({ config, output: output.withoutEvents() });
  },
};
