// A process of its own that holds the embedded Postgres: one JSON line per thing that happens.
// It runs until it is killed or its standard input ends.
import { attachEmbeddedPostgres } from "../../../dist/store/embedded/attach.js";

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
process.stdin.resume().once("end", () => process.exit(0));
try {
  const postgres = await attachEmbeddedPostgres(JSON.parse(process.argv[2]));
  postgres.onLost(() => print({ event: "lost" }));
  print({ event: "attached", ...postgres });
} catch (error) {
  print({ event: "failed", code: error.code, message: error.message });
}
