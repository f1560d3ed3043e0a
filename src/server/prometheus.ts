import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { METRICS, type MetricEntry, type MetricsRegistry } from "../core/metrics.ts";

type Table<M> = Record<string, M>;

/**
 * Metrics in the text format of Prometheus, with a registry of their own.
 * @param options.processMetrics also those of the Node process. @default false
 */
export function createPrometheusMetrics(
  options: { readonly processMetrics?: boolean } = {},
): MetricsRegistry {
  const registry = new Registry();
  const counters = buildTable("counter", (entry) => new Counter(settingsOf(entry, registry)));
  const gauges = buildTable("gauge", (entry) => new Gauge(settingsOf(entry, registry)));
  const histograms = buildTable("histogram", (entry) => {
    const settings = { ...settingsOf(entry, registry), buckets: [...(entry.buckets ?? [])] };
    return new Histogram(settings);
  });
  if (options.processMetrics === true) collectDefaultMetrics({ register: registry });
  return {
    count: (name, labels, by = 1) => counters[name]?.inc({ ...labels }, by),
    observe: (name, labels, value) => histograms[name]?.observe({ ...labels }, value),
    set: (name, labels, value) => gauges[name]?.set({ ...labels }, value),
    clear: (name) => gauges[name]?.reset(),
    render: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}

function buildTable<M>(kind: MetricEntry["kind"], create: (entry: MetricEntry) => M): Table<M> {
  const entries: [string, MetricEntry][] = Object.entries(METRICS);
  return Object.fromEntries(
    entries
      .filter(([, entry]) => entry.kind === kind)
      .map(([name, entry]) => [name, create(entry)]),
  );
}

function settingsOf(entry: MetricEntry, registry: Registry) {
  return {
    name: entry.name,
    help: entry.help,
    labelNames: [...entry.labels],
    registers: [registry],
  };
}
