import { definePermissionVerb } from "../permission-verb.ts";

export const command = definePermissionVerb({
  name: "approve",
  decision: "allow",
  done: "allowed",
  isConfirmed: true,
});
