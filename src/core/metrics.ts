/**
 * The port to metrics: a fixed table of names with fixed labels. No label ever holds an id, a path
 * or anything else that a user or an agent may choose, so the number of series is bounded.
 */

/** What is counted, measured or shown. Units are in the names; durations are in seconds. */
export const METRICS = {
  transitions: {
    kind: "counter",
    name: "stint_session_transitions_total",
    labels: ["from", "to", "reason"],
    help: "State transitions made by this process.",
  },
  expiries: {
    kind: "counter",
    name: "stint_session_expiries_total",
    labels: ["reason"],
    help: "Sessions that this process expired.",
  },
  sessionDuration: {
    kind: "histogram",
    name: "stint_session_duration_seconds",
    labels: ["status"],
    help: "From creation to the end of a session.",
    buckets: [1, 5, 15, 60, 300, 900, 1_800, 3_600, 7_200, 21_600, 86_400],
  },
  events: {
    kind: "counter",
    name: "stint_events_total",
    labels: ["type"],
    help: "Events that this process appended durably.",
  },
  appendLatency: {
    kind: "histogram",
    name: "stint_append_latency_seconds",
    labels: [],
    help: "From the call to a durable commit of a session's log.",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  },
  claimLatency: {
    kind: "histogram",
    name: "stint_claim_latency_seconds",
    labels: [],
    help: "From the moment a session may be claimed to its claim.",
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600],
  },
  activeSessions: {
    kind: "gauge",
    name: "stint_worker_active_sessions",
    labels: [],
    help: "Sessions that this process runs now.",
  },
  sessions: {
    kind: "gauge",
    name: "stint_sessions",
    labels: ["status"],
    help: "Sessions by state, read from the database at the scrape.",
  },
  databaseUp: {
    kind: "gauge",
    name: "stint_database_up",
    labels: [],
    help: "1 when the scrape could read from the database, else 0.",
  },
  streamSubscribers: {
    kind: "gauge",
    name: "stint_stream_subscribers",
    labels: [],
    help: "Open event streams of this server.",
  },
  streamDisconnects: {
    kind: "counter",
    name: "stint_stream_disconnects_total",
    labels: ["reason"],
    help: "Event streams that ended: terminal, client, stalled, shutdown, gone, error.",
  },
  httpRequests: {
    kind: "counter",
    name: "stint_http_requests_total",
    labels: ["method", "route", "status"],
    help: "Answered requests by route pattern and status.",
  },
  httpDuration: {
    kind: "histogram",
    name: "stint_http_request_duration_seconds",
    labels: ["method", "route"],
    help: "From the request to the head of its answer.",
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  },
} as const satisfies Record<string, MetricEntry>;

/** One row of the table. */
export interface MetricEntry {
  readonly kind: "counter" | "gauge" | "histogram";
  /** The name under which it is scraped. */
  readonly name: string;
  readonly labels: readonly string[];
  readonly help: string;
  /** Upper bounds of a histogram, in its unit. */
  readonly buckets?: readonly number[];
}

type MetricTable = typeof METRICS;
type NameOf<Kind extends MetricEntry["kind"]> = {
  [K in keyof MetricTable]: MetricTable[K]["kind"] extends Kind ? K : never;
}[keyof MetricTable];

/** The labels of one metric, each with its value. */
export type LabelsOf<K extends keyof MetricTable> = Readonly<
  Record<MetricTable[K]["labels"][number], string>
>;

/** Takes measurements. Never throws and never waits. */
export interface Metrics {
  /** Adds to a counter. @default by 1 */
  count<K extends NameOf<"counter">>(name: K, labels: LabelsOf<K>, by?: number): void;
  /** Adds one measurement to a histogram, in the unit of its name. */
  observe<K extends NameOf<"histogram">>(name: K, labels: LabelsOf<K>, value: number): void;
  /** Sets a gauge. */
  set<K extends NameOf<"gauge">>(name: K, labels: LabelsOf<K>, value: number): void;
}

/** Metrics that can be read out. */
export interface MetricsRegistry extends Metrics {
  /** Forgets all values of a gauge, as when what it shows could not be read. */
  clear(name: NameOf<"gauge">): void;
  /** All metrics as text for a scrape, with its media type. */
  render(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** Metrics that nobody reads. */
export const silentMetrics: Metrics = {
  count: () => undefined,
  observe: () => undefined,
  set: () => undefined,
};
