import { definePermissionVerb } from "../permission-verb.ts";

export const command = definePermissionVerb({
  name: "deny",
  decision: "deny",
  done: "denied",
  isConfirmed: false,
});
