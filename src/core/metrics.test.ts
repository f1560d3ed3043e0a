import { describe, expect, it } from "vitest";
import { METRICS, type MetricEntry, silentMetrics } from "./metrics.ts";

const ENTRIES = Object.values(METRICS) as readonly MetricEntry[];

describe("the metrics", () => {
  it("have names of their own", () => {
    expect(new Set(ENTRIES.map(({ name }) => name)).size).toBe(ENTRIES.length);
  });

  it.each(ENTRIES)("say kind and unit in the name: $name", ({ name, kind, help, buckets }) => {
    expect(name).toMatch(/^stint_[a-z]+(_[a-z]+)*$/);
    expect(name.endsWith("_total")).toBe(kind === "counter");
    expect(name.endsWith("_seconds")).toBe(kind === "histogram");
    expect(help).toMatch(/^.+\.$/);
    expect(buckets !== undefined).toBe(kind === "histogram");
    expect(buckets ?? []).toEqual([...(buckets ?? [])].sort((a, b) => a - b));
  });

  it("have no label that a user or an agent may choose the value of", () => {
    const bounded = ["from", "to", "reason", "status", "type", "method", "route"];
    expect(ENTRIES.flatMap(({ labels }) => labels).filter((l) => !bounded.includes(l))).toEqual([]);
  });

  it("may be measured for nobody", () => {
    expect(() => silentMetrics.count("events", { type: "tool" })).not.toThrow();
  });
});
