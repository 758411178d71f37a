/**
 * What a stage in JavaScript or TypeScript is written against: a function between two topics.
 *
 *     import { mapValue } from "millstream";
 *
 *     export default mapValue((value) => value.toReversed());
 *
 * That is a whole stage: it changes the value and lets everything else through, a record without a value too.
 * One that sees the key, filters, or gives several records, takes both:
 *
 *     import { Reject, stage, text } from "millstream";
 *
 *     export default stage((key, value) => {
 *       if (!value) throw new Reject("there is nothing to split", "no-value");
 *       return text(value).split("\n").map((line) => ({ key, value: line, output: "lines" }));
 *     });
 *
 * A file may also export a function `open`, which is called before the first record: what it throws refuses the module.
 *
 * The instance may be replaced between any two records, and a record may come twice: what a stage keeps in globals is a
 * cache, never the truth. `Math.random` gives the same numbers in every instance.
 */

/** What can stand as a key or a value. None is not the same as empty: a record without a value is a tombstone. A text
 * goes as UTF-8. */
export type Data = Uint8Array | string | null;

/** A record to send. The input's headers and timestamp go along, and the key decides the partition. */
export interface Record {
  key?: Data;
  value: Data;
  /** Headers behind the input's. Names may stand twice. */
  headers?: (readonly [name: string, value: Data])[];
  /** They stand in place of the input's. */
  replaceHeaders?: boolean;
  /** One of the stage's outputs, by its name in the manifest; the first by default. */
  output?: string;
  /** To this partition, whatever the key is. */
  partition?: number;
  /** Milliseconds since 1970. */
  timestamp?: number;
}

/** Where a record comes from. */
export interface Origin {
  /** The topic's name at the broker. */
  readonly topic: string;
  /** The input's name in the manifest. */
  readonly input: string;
  readonly partition: number;
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp?: number;
  /** 1 at first, more when the record is tried again. */
  readonly attempt: number;
}

/** What the file exports as its default. */
export interface Stage {
  transform(key: Uint8Array | null | undefined, value: Uint8Array | null | undefined): unknown[];
}

/** Makes a stage of a function that takes a key and a value, and gives a record, several, or none. */
export function stage(
  transform: (key: Uint8Array | null, value: Uint8Array | null) => Record | Record[] | null | void,
): Stage;

/** Makes a stage of a function of the value alone. A tombstone passes through; null makes one. */
export function mapValue(map: (value: Uint8Array) => Uint8Array | string | null): Stage;

/** Where the record in hand comes from. */
export function origin(): Origin;

/** The headers of the record in hand. Names may stand twice. */
export function headers(): [name: string, value: Uint8Array | null][];

/** The value of its first header of that name; null when there is none, or it has no value. */
export function header(name: string): Uint8Array | null;

/** A setting of the stage's configuration in the manifest. */
export function config(name: string): string | undefined;

/** All of them. */
export function allConfig(): { [name: string]: string };

/** Writes a line on the host's log. `console` does so as well. While the stage is built, neither writes anything. */
export function log(line: unknown, level?: "trace" | "debug" | "info" | "warn" | "error"): void;

/** The text that these bytes are in UTF-8; what is none becomes U+FFFD. */
export function text(bytes: Uint8Array): string;

/** A text in UTF-8. */
export function bytes(text: string): Uint8Array;

/** The record is wrong and always will be. A code groups failures, as in `unknown-currency`. */
export class Reject extends Error {
  constructor(message: unknown, code?: string);
}

/** It may go through later: after that many milliseconds, or when the manifest says. */
export class Retry extends Error {
  constructor(message: unknown, code?: string, afterMs?: number);
}

/** The stage's own code failed. Any other exception says the same. */
export class Fault extends Error {
  constructor(message: unknown, code?: string);
}

type Print = (...things: unknown[]) => void;

declare global {
  var console: {
    trace: Print;
    debug: Print;
    log: Print;
    info: Print;
    warn: Print;
    error: Print;
    /** What is not so, at the level of `error`. */
    assert(holds: unknown, ...things: unknown[]): void;
    dir(thing: unknown): void;
    table(rows: unknown): void;
  };
}
