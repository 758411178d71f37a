// What a stage in JavaScript or TypeScript is written against. What each thing is for stands in millstream.d.ts.

import { all, get } from "millstream:stage/config";
import * as context from "millstream:stage/context";
import { write } from "millstream:stage/log";

/** None is null for an author, undefined for the engine. */
const none = (value) => value ?? null;
const some = (value) => value ?? undefined;

/** A text as UTF-8 can say it. */
const sound = (text) => String(text).toWellFormed();

/** False while the file is run for the build, which takes a picture of what comes of it. */
let isRunning = false;

class Failed extends Error {
  constructor(message, code) {
    super(message);
    this.name = new.target.name;
    this.reason = { code: word("code", code), message: sound(message) };
  }
}

export class Reject extends Failed {}

export class Retry extends Failed {
  constructor(message, code, afterMs) {
    super(message, code);
    this.later = { reason: this.reason, afterMs: whole("afterMs", afterMs) };
  }
}

export class Fault extends Failed {}

export const stage = (transform) => ({
  transform(key, value) {
    isRunning = true;
    try {
      const given = transform(none(key), none(value)) ?? [];
      return Array.isArray(given) ? given.map(record) : [record(given)];
    } catch (error) {
      throw failure(error);
    }
  },
});

export const mapValue = (map) =>
  stage((key, value) => {
    if (value === null) return { key, value };
    const mapped = map(value);
    if (mapped === undefined) throw new TypeError("the function of mapValue gives nothing: say null for a tombstone");
    return { key, value: mapped };
  });

/** What `entry.js` makes of the file's own `open`. */
export const lifecycle = (open) => ({
  open() {
    isRunning = true;
    try {
      open?.();
    } catch (error) {
      throw sound(error instanceof Error ? error.message : error);
    }
  },
});

export const origin = () => {
  const { timestamp, ...rest } = context.origin();
  return { ...rest, timestamp: some(timestamp) };
};

export const headers = () => context.headers().map(({ name, value }) => [name, none(value)]);

export const header = (name) => none(context.headers().find((header) => header.name === name)?.value);

export const config = (name) => some(known(get)(name));

export const allConfig = () => Object.fromEntries(known(all)());

const known = (call) => {
  if (isRunning) return call;
  throw new Error("there is no configuration while the stage is built: ask for it inside a function");
};

export const log = (line, level = "info") => {
  if (!LEVELS.includes(level)) throw new TypeError(`a level is one of ${LEVELS.join(", ")}, not ${level}`);
  say(level, line);
};

const LEVELS = ["trace", "debug", "info", "warn", "error"];

/** There is no log while the stage is built. */
const say = (level, line) => isRunning && write(level, sound(line));

// The engine has no console.
const print = (level) => (...things) => void say(level, things.map(shown).join(" "));
// Whatever it is: no record fails for what is printed.
const shown = (thing) => {
  for (const way of [json, String]) {
    try {
      return way(thing);
    } catch {}
  }
  return `[${typeof thing}]`;
};
const json = (thing) => {
  const isPlain = typeof thing === "object" && !(thing instanceof Error);
  return (isPlain && JSON.stringify(thing)) || String(thing);
};
globalThis.console = {
  trace: print("trace"),
  debug: print("debug"),
  log: print("info"),
  info: print("info"),
  warn: print("warn"),
  error: print("error"),
  dir: (thing) => console.log(thing),
  table: (rows) => console.log(rows),
  assert: (holds, ...things) => void (holds || console.error("Assertion failed", ...things)),
};

// Nor has it TextEncoder and TextDecoder; its own functions for URIs know UTF-8.
export const bytes = (text) => {
  const units = /[^\0-\x7f]/.test(text) ? unescape(encodeURIComponent(text.toWellFormed())) : text;
  const out = new Uint8Array(units.length);
  for (let i = 0; i < units.length; i++) out[i] = units.charCodeAt(i);
  return out;
};

export const text = (bytes) => {
  let units = "";
  // So many arguments can be handed over at once.
  for (let i = 0; i < bytes.length; i += 4096) units += String.fromCharCode(...bytes.subarray(i, i + 4096));
  // What is no UTF-8 becomes U+FFFD.
  return units.replace(/[\x80-\xff]+/g, (beyond) => {
    try {
      return decodeURIComponent(escape(beyond));
    } catch {
      return beyond.replace(UTF8, (_, sound) => (sound ? decodeURIComponent(escape(sound)) : "\ufffd"));
    }
  });
};

/** A character beyond ASCII, or as much of one as there is, or a byte that begins none. */
const UTF8 = new RegExp(
  "([\\xc2-\\xdf][\\x80-\\xbf]" +
    "|(?:\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f])[\\x80-\\xbf]" +
    "|(?:\\xf0[\\x90-\\xbf]|[\\xf1-\\xf3][\\x80-\\xbf]|\\xf4[\\x80-\\x8f])[\\x80-\\xbf]{2})" +
    "|\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f]" +
    "|(?:\\xf0[\\x90-\\xbf]|[\\xf1-\\xf3][\\x80-\\xbf]|\\xf4[\\x80-\\x8f])[\\x80-\\xbf]?" +
    "|[\\x80-\\xff]",
  "g",
);

// What is of a wrong type must not get any further: the engine would end the instance without a word.
const data = (data) => {
  if (typeof data === "string") return bytes(data);
  if (data === null || data instanceof Uint8Array) return some(data);
  throw new TypeError(`keys, values and those of headers are Uint8Array, text or null, not ${typeof data}`);
};

const word = (what, word) => {
  if (word == null) return undefined;
  if (typeof word === "string") return word.toWellFormed();
  throw new TypeError(`${what} is a text, not ${typeof word}`);
};

const whole = (what, number, from = 0, to = Number.MAX_SAFE_INTEGER) => {
  if (number == null || (Number.isSafeInteger(number) && number >= from && number <= to)) return some(number);
  throw new TypeError(`${what} is a whole number, not ${number}`);
};

const record = (given) => {
  // A promise would be taken for a tombstone.
  if (typeof given !== "object" || given === null || !("value" in given)) {
    throw new TypeError(`a record is an object with a value, which may be null, not ${String(given)}`);
  }
  const { key, value, headers, replaceHeaders, output, partition, timestamp } = given;
  const list = (headers ?? []).map(([name, value]) => ({
    name: word("a header's name", name) ?? "",
    value: data(value),
  }));
  const tag = replaceHeaders ? "replace" : list.length ? "add" : "keep";
  return {
    key: data(none(key)),
    value: data(value),
    headers: tag === "keep" ? { tag } : { tag, val: list },
    output: word("output", output),
    partition: whole("partition", partition, 0, 0xffffffff),
    timestamp: whole("timestamp", timestamp, -Infinity),
  };
};

const failure = (error) => {
  if (error instanceof Retry) return { tag: "retry", val: error.later };
  if (error instanceof Reject) return { tag: "reject", val: error.reason };
  return { tag: "fault", val: reason(error) };
};

/** That of an exception which nobody threw on purpose: its class and its words, and where it came from. */
const reason = (error) => {
  if (error instanceof Failed) return error.reason;
  if (!(error instanceof Error)) return { code: undefined, message: sound(error) };
  const place = /at (\S+) \(\/(\S+?):(\d+)/.exec(error.stack);
  const at = place ? ` (at ${place[1]}, ${place[2]}:${place[3]})` : "";
  return { code: error.name, message: sound(`${error.message}${at}`) };
};
