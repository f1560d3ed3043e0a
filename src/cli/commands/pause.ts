import { defineSessionVerb } from "../session-verb.ts";

export const command = defineSessionVerb({
  example: "stint pause 7f3a1c",
  verb: "be paused",
  act: (client, id, signal) => client.sessions.pause(id, { signal }),
  remark: ({ status, id, agent }) => {
    if (status !== "active") return `go on with: stint resume ${id}`;
    return agent === "builtin"
      ? "asked to pause; the agent stops at its next step"
      : "asked to pause; its processes are frozen where the host can, else stopped";
  },
});
