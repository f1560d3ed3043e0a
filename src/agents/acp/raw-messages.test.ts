import { expect, it } from "vitest";
import type { JsonObject } from "../../core/json.ts";
import { RawMessages } from "./raw-messages.ts";

it("keeps what an agent printed to stderr up to a bound of its own, and messages after it", () => {
  const raw = new RawMessages();
  raw.addStderr("warning: old\n");
  expect(raw.take()).toEqual([{ kind: "stderr", text: "warning: old\n" }]);
  for (let count = 0; count < 2_000; count++) raw.addStderr("x".repeat(1_000));
  raw.add({ sessionUpdate: "agent_message_chunk" });
  const kept = raw.take() as JsonObject[];
  expect(JSON.stringify(kept).length).toBeLessThan(1_200_000);
  expect(kept.filter((one) => one["isOver"] === true)).toEqual([
    { kind: "stderr", isOver: true, bytes: 1_048_576 },
  ]);
  expect(kept.at(-1)).toEqual({ sessionUpdate: "agent_message_chunk" });
});
