import { describe, expect, it } from "vitest";
import type { AgentAdapter } from "../core/attempt.ts";
import { createBuiltinAgent } from "./builtin/agent.ts";
import { createFakeAgent } from "./fake.ts";
import { createAgentRegistry } from "./registry.ts";

describe("createAgentRegistry", () => {
  const registry = createAgentRegistry([createBuiltinAgent(), createFakeAgent([])]);

  it("finds agents by name", () => {
    expect(registry.names()).toEqual(["builtin", "fake"]);
    expect(registry.get("fake").needsModel).toBe(false);
  });

  it("names the agent that may have been meant", () => {
    expect(() => registry.get("bultin")).toThrow(
      'The agent "bultin" is unknown. Did you mean builtin? There are: builtin, fake.',
    );
    expect(() => registry.get("x")).toThrow(expect.objectContaining({ code: "agent_unknown" }));
  });

  it("refuses two agents of one name", () => {
    expect(() => createAgentRegistry([createFakeAgent([]), createFakeAgent([])])).toThrow(
      "named fake",
    );
  });

  it("asks every agent, and takes one that throws as not there", async () => {
    const broken: AgentAdapter = {
      ...createFakeAgent([], "broken"),
      probe: () => Promise.reject(new Error("no binary")),
    };
    expect(await createAgentRegistry([createFakeAgent([]), broken]).probeAll()).toEqual([
      { name: "fake", available: true, detail: "a fake for tests" },
      { name: "broken", available: false, detail: "no binary" },
    ]);
  });
});
