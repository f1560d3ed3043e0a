// What the model gateway adds to the time until the first byte of a streamed answer: the same request
// to the same provider, directly and through the door (socket, token, ledger in memory), one after the
// other. The intent of a call is durable before it goes out; what that commit costs is measured by the
// bench of appends and is not in these figures. CPU is that of client, gateway and provider together, and
// tells more than the clock on a machine that is busy with other things.
import { createServer, request as sendRequest } from "node:http";
import { openDoor } from "../dist/model/gateway/door.js";
import { Egress } from "../dist/model/gateway/egress.js";
import { EgressList } from "../dist/model/gateway/egress-list.js";
import { ModelGateway } from "../dist/model/gateway/gateway.js";
import { describeLoad, describeMachine, percentile, requireBar } from "./machine.mjs";

const ROUNDS = 500;
const WARM_UP = 100;
const ADDED_MS_MAX = 3;

const log = { debug() {}, info() {}, warn() {}, error() {} };
const EVENTS = Array.from({ length: 50 }, (_, index) => {
  const delta = { type: "text_delta", text: `word ${index} ` };
  return `event: content_block_delta\ndata: ${JSON.stringify({ type: "content_block_delta", delta })}\n\n`;
});

const provider = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of EVENTS) response.write(event);
    response.end();
  });
});
await new Promise((resolve) => provider.listen(0, "127.0.0.1", resolve));
const baseUrl = `http://127.0.0.1:${provider.address().port}`;

const none = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0 };
const gateway = new ModelGateway({
  model: null,
  policy: "any",
  resolve: async (family) => ({
    provider: family,
    baseUrl,
    authHeaders: { "x-api-key": "k" },
    secrets: [],
    isVendorOwn: false,
  }),
  ledger: { openCall: async () => {}, closeCall: async () => {} },
  limits: { tokensMax: null, costUsdMax: null, modelCallsMax: null, modelCallTimeoutMs: 60_000 },
  stats: { ...none, reasoningTokens: 0, iterations: 0, toolCalls: 0, modelCalls: 0, costUsd: null },
  prices: {},
  recordExchanges: false,
  clock: {
    now: Date.now,
    monotonic: () => performance.now(),
    setTimer(callback, delayMs) {
      const timer = setTimeout(callback, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
    newId: () => crypto.randomUUID(),
    random: Math.random,
  },
  log,
  onBudgetReached() {},
});
const egress = new Egress({ list: new EgressList([]), log });
const handle = (request) => gateway.handle(request);
const { door, close } = await openDoor({ handle, egress, bridgePath: "", log });

/** A request as an agent sends it: 40 kB, which is a short transcript. */
const body = JSON.stringify({
  model: "m",
  stream: true,
  messages: [{ role: "user", content: "x".repeat(40_000) }],
});

/** Milliseconds until the first byte of the answer, and until its end. */
function ask(place) {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "x-api-key": door.token };
    const request = sendRequest({ ...place, method: "POST", headers }, (response) => {
      let firstMs = 0;
      response.on("data", () => (firstMs ||= performance.now() - startedMs));
      response.on("end", () => resolve({ firstMs, allMs: performance.now() - startedMs }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

const PLACES = {
  direct: { host: "127.0.0.1", port: provider.address().port, path: "/messages" },
  gateway: { socketPath: door.socketPath, path: "/anthropic/v1/messages" },
};
const taken = { direct: [], gateway: [] };
console.log(`${describeMachine()}\nbefore: ${describeLoad()}`);
for (let round = 0; round < WARM_UP + ROUNDS; round++) {
  for (const [name, place] of Object.entries(PLACES)) {
    const before = process.cpuUsage();
    const times = await ask(place);
    const { user, system } = process.cpuUsage(before);
    if (round >= WARM_UP) taken[name].push({ ...times, cpuMs: (user + system) / 1_000 });
  }
}
const figure = (name, key, share) =>
  percentile(
    taken[name].map((times) => times[key]),
    share,
  );
for (const name of Object.keys(PLACES)) {
  const [p50, p99] = [figure(name, "firstMs", 0.5), figure(name, "firstMs", 0.99)];
  const all = figure(name, "allMs", 0.5);
  const cpu = figure(name, "cpuMs", 0.5);
  console.log(
    `${name.padEnd(10)} first byte p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms; whole answer p50 ${all.toFixed(2)} ms; CPU p50 ${cpu.toFixed(2)} ms`,
  );
}
const added = figure("gateway", "firstMs", 0.5) - figure("direct", "firstMs", 0.5);
console.log(
  `added to the first byte: p50 ${added.toFixed(2)} ms (wanted: at most ${ADDED_MS_MAX})`,
);
console.log(`after: ${describeLoad()}`);
requireBar("added to the first byte", added, { max: ADDED_MS_MAX }, " ms");
await close();
await gateway.close();
provider.close();
provider.closeAllConnections();
