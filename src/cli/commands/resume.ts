import { defineSessionVerb } from "../session-verb.ts";

export const command = defineSessionVerb({
  example: "stint resume 7f3a1c",
  act: (client, id, signal) => client.sessions.resume(id, { signal }),
  remark: ({ status, id }) =>
    status === "paused" ? `the next free worker takes it; watch it: stint attach ${id}` : "",
});
