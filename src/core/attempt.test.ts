import { expect, it } from "vitest";
import { AttemptStopped } from "./attempt.ts";

it("tells an agent why it has to stop, in the reason of the signal", () => {
  const controller = new AbortController();
  const request = { kind: "pause", message: "a user asked for a pause", inboxIds: ["i"] } as const;
  controller.abort(new AttemptStopped(request));
  const reason: unknown = controller.signal.reason;
  expect(reason).toBeInstanceOf(AttemptStopped);
  expect(reason).toMatchObject({ name: "AttemptStopped", message: request.message, request });
});
