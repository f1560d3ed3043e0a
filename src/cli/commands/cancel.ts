import { defineSessionVerb } from "../session-verb.ts";

export const command = defineSessionVerb({
  example: "stint cancel 7f3a1c",
  verb: "be cancelled",
  act: (client, id, signal) => client.sessions.cancel(id, { signal }),
  remark: ({ status }) => (status === "active" ? "asked to stop; its worker ends it" : ""),
});
