import { addExamples, type CommandModule } from "../command.ts";
import { readText } from "../read-text.ts";

export const command: CommandModule = {
  configure(command) {
    command.argument("<session>", "id, or the start of one");
    command.argument("<message>", "what to tell the agent; - reads it from standard input");
    addExamples(command, ['stint steer 7f3a1c "leave the tests alone"']);
  },
  async run({ output, connect, signal, stdin }, [id = "", message = ""]) {
    const client = await connect();
    const session = await client.sessions.sendMessage(id, await readText(message, stdin), {
      signal,
    });
    output.document(session);
    const when = session.status === "active" ? "the agent reads it at its next step" : "queued";
    output.result(`${session.id}  sent; ${when}`);
    return 0;
  },
};
