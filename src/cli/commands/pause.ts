import { defineSessionVerb } from "../session-verb.ts";

export const command = defineSessionVerb({
  example: "stint pause 7f3a1c",
  act: (client, id, signal) => client.sessions.pause(id, { signal }),
  remark: ({ status, id }) =>
    status === "active"
      ? "asked to pause; the agent stops at its next step"
      : `go on with: stint resume ${id}`,
});
