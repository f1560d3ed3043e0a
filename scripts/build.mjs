// `npm run build`; with --tolerant (the prepare script) a failure is told but does not stop `npm ci`,
// because the launcher, `npm test` and `npm run check` all build again and do stop.
import { ensureDist } from "./dist.mjs";

const tolerant = process.argv.includes("--tolerant");
const { ok, built } = await ensureDist({ say: (line) => console.error(line) });
if (ok) console.error(built ? "dist is built" : "dist is up to date");
process.exitCode = ok || tolerant ? 0 : 1;
