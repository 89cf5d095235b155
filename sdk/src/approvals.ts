export type { ApprovalAnswer, ApprovalNow, Edits } from "./approval.ts";
export { type ApprovalOptions, guard } from "./approval_guard.ts";
export { type Held, type HoldName, type ResumeOptions, resume } from "./resume.ts";
