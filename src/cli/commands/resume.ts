import { addBudgetOptions, type LimitOptions, readLimits } from "../limit-options.ts";
import { frozenUntil } from "../session-text.ts";
import { defineSessionVerb } from "../session-verb.ts";
import { systemClock } from "../system-clock.ts";

export const command = defineSessionVerb({
  example: "stint resume 7f3a1c",
  verb: "be resumed",
  configure: addBudgetOptions,
  act: (client, id, signal, options) => {
    const limits = readLimits(options as LimitOptions);
    return client.sessions.resume(id, {
      signal,
      ...(Object.keys(limits).length > 0 && { limits }),
    });
  },
  remark: (session) => {
    if (session.status !== "paused") return "";
    const isFrozen = frozenUntil(session, systemClock.now()) !== null;
    const who = isFrozen ? "it goes on where it is frozen" : "the next free worker takes it";
    return `${who}; watch it: stint attach ${session.id}`;
  },
});
