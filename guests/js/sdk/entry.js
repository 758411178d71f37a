// What the component is made of: the author's stage, and its `open`, if any.

import * as author from "../stage";
import { lifecycle as opened } from "./millstream.js";

if (typeof author.default?.transform !== "function") {
  throw new Error("the stage's file must `export default stage(…)`, or `mapValue(…)`");
}

export const transformer = author.default;

export const lifecycle = opened(author.open);
