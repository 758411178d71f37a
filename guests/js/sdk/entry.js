// What the component is made of: the author's stage, and its `open`, if any.

import * as author from "../stage";

if (typeof author.default?.transform !== "function") {
  throw new Error("the stage's file must `export default stage(…)`, or `mapValue(…)`");
}

export const transformer = author.default;

export const lifecycle = {
  open() {
    try {
      author.open?.();
    } catch (error) {
      throw String(error instanceof Error ? error.message : error).toWellFormed();
    }
  },
};
