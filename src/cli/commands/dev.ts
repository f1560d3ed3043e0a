import { defineService } from "../service-command.ts";

export const command = defineService({
  examples: ["stint dev", "stint dev --port 0 --worker-slots 4"],
  settings: ["port", "host", "databaseUrl", "workerSlots", "workerName", "logLevel"],
  takesDemo: true,
  run: async (options) => (await import("../runtime.ts")).runDev(options),
});
