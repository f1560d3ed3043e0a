import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { makeDataFolder } from "../data-template.ts";
import { requireTool } from "../tools.ts";
import { makeFolder, poll, StintProcess } from "./stint-process.ts";

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Asks for each address as a program does that heeds the proxy of its environment. */
const ASKER = `import { request } from "node:http";
const proxy = new URL(process.env.http_proxy ?? "http://none.invalid");
const basic = Buffer.from(proxy.username + ":" + proxy.password).toString("base64");
for (const path of process.argv.slice(2)) {
  const headers = { "proxy-authorization": "Basic " + basic, host: new URL(path).host };
  const { hostname: host, port } = proxy;
  const [answer] = await new Promise((resolve, reject) => {
    request({ host, port, path, headers }, (...args) => resolve(args)).on("error", reject).end();
  });
  let text = "";
  for await (const chunk of answer) text += chunk;
  console.log(answer.statusCode + " " + text.trim());
}`;

async function startHost(said: string): Promise<string> {
  const server: Server = createServer((_, response) => void response.end(said));
  cleanups.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("commands of any agent reach a listed host from a sandbox without network, and no other", async (context) => {
  requireTool(context, "bwrap");
  const [listed, other] = [await startHost("of the listed"), await startHost("of the other")];
  const folder = makeFolder("stint egress ");
  cleanups.push(() => folder.dispose());
  await makeDataFolder(folder.path);
  const source = join(folder.path, "source");
  mkdirSync(source);
  writeFileSync(join(source, "ask.mjs"), ASKER);
  const stint = new StintProcess(["dev", "--json"], folder.path, { STINT_EGRESS_ALLOW: listed });
  cleanups.push(() => stint.stop("SIGKILL"));
  const { sessions } = await stint.connect();
  const line = `'${process.execPath}' ask.mjs http://${listed}/ http://${other}/`;
  const place = { workspace: { source } };
  const builtin = await sessions.create({
    ...{ prompt: "Ask.", model: "scripted", ...place },
    script: [{ bash: line }, { text: "Done." }],
  });
  const command = await sessions.create({
    ...{ prompt: line, agent: "command", ...place },
  });
  for (const { id } of [builtin, command]) {
    const session = await poll(async () => {
      const found = await sessions.get(id);
      return found.status === "completed" || found.status === "failed" ? found : null;
    });
    const { level, reason } = session.sandbox ?? {};
    if (level !== "strict") context.skip(`[needs a strict sandbox] ${reason}`);
    const { events } = await sessions.events(id, { type: ["terminal"] });
    const output = events.map(({ data }) => String(data["output"] ?? "")).join("");
    expect(output).toContain("200 of the listed");
    expect(output).toContain(`403 egress: ${other} is not on the list`);
    expect(output).not.toContain("of the other");
  }
}, 180_000);
