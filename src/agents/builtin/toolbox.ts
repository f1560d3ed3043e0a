import { suggestName } from "../../core/suggestion.ts";
import type { AnswerCall } from "./answer.ts";
import { bashTool } from "./bash-tool.ts";
import {
  editFileTool,
  listFilesTool,
  readFileTool,
  searchTool,
  writeFileTool,
} from "./file-tools.ts";
import type { ToolOffer } from "./model-client.ts";
import { type PreparedCall, type Tool, ToolFailure } from "./tool.ts";

const TOOLS: readonly Tool[] = [
  bashTool,
  readFileTool,
  writeFileTool,
  editFileTool,
  listFilesTool,
  searchTool,
];
const TOOL_NAMES = TOOLS.map(({ name }) => name);

/** The tools as the model is offered them. */
export const TOOL_OFFERS: readonly ToolOffer[] = TOOLS.map(
  ({ name, description, inputSchema }) => ({ name, description, inputSchema }),
);

/** @throws {ToolFailure} telling the model what is wrong with its call. */
export function prepareCall(call: AnswerCall): PreparedCall {
  const tool = TOOLS.find(({ name }) => name === call.name);
  if (tool === undefined) throw new ToolFailure(explainUnknown(call.name));
  if (call.problem !== null) throw new ToolFailure(`${call.problem} Nothing was done.`);
  return tool.prepare(call.input);
}

function explainUnknown(name: string): string {
  const shown = name.slice(0, 100);
  const near = suggestName(shown, TOOL_NAMES);
  const hint = near === null ? "" : ` Did you mean ${near}?`;
  return `There is no tool "${shown}".${hint} There are: ${TOOL_NAMES.join(", ")}.`;
}
