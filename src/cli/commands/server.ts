import { defineService } from "../service-command.ts";

export const command = defineService({
  examples: ["stint server --host 0.0.0.0 --port 4700"],
  settings: ["port", "host", "databaseUrl", "logLevel"],
  run: async (options) => (await import("../runtime.ts")).runServer(options),
});
