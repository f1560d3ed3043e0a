#!/usr/bin/env node
// Starts the compiled CLI. In a checkout it first brings dist up to date; an installed package ships
// dist and neither src nor scripts, so there this file only imports.
import { existsSync } from "node:fs";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`stint needs Node 20.19 or newer; this is ${process.versions.node}\n`);
  process.exit(1);
}

const dist = new URL("../scripts/dist.mjs", import.meta.url);
if (existsSync(dist) && existsSync(new URL("../src/bin.ts", import.meta.url))) {
  const { ensureDist } = await import(dist.href);
  const outcome = await ensureDist({ say: (line) => process.stderr.write(`stint: ${line}\n`) });
  if (!outcome.ok) process.exit(1);
}
await import("../dist/bin.js");
