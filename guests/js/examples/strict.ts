// Puts a currency behind every value, and refuses to start with one that is wrong.
//
// Configuration: `currency`, three capital letters.

import { Reject, bytes, config, mapValue } from "millstream";

export function open(): void {
  if (!/^[A-Z]{3}$/.test(currency())) {
    throw new Reject(`\`currency: ${currency()}\` is not three capital letters, as EUR is`);
  }
}

export default mapValue((value) => Uint8Array.of(...value, ...bytes(` ${currency()}`)));

const currency = (): string => config("currency") ?? "";
