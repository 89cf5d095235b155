export { type Following, follow } from "./follow.ts";
export { type LiveEvent, type Tail, type TailOptions, tail } from "./tail.ts";
