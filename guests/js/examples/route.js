// Orders go on to `main`, large ones to `large` as well. An order's value is its amount in cents; its header `kind`
// may say `test`, which goes nowhere, or `held`, which is to come a second time.
//
// Configuration: `large` is the amount from which on an order is large (100000), `hold-ms` how long one is held
// (without it, the stage's back-off).

import { Fault, Reject, Retry, config, header, origin, stage, text } from "millstream";

export default stage((key, value) => {
  if (!value) return { key, value };
  const { topic, input, partition, offset, timestamp, attempt } = origin();
  const kind = header("kind");
  const word = kind && text(kind);
  if (word === "test") return [];
  if (word === "held" && attempt === 1) throw new Retry("the order is held", "held", setting("hold-ms"));

  const amount = number(text(value));
  if (amount === undefined) throw new Reject("the amount is not a number of cents", "no-number");
  if (amount < (setting("large") ?? 100_000)) return { key, value, headers: [["checked", null], ["route", "main"]] };
  const large = {
    key: kind ?? "plain",
    value,
    output: "large",
    // Those of a minute stand together.
    timestamp: timestamp === undefined ? undefined : timestamp - (timestamp % 60_000),
    headers: [["from", topic], ["from", `${input}/${partition}@${offset}`], ["checked", null]],
    replaceHeaders: true,
  };
  return [{ key, value, headers: [["checked", null], ["route", "main"], ["route", "large"]] }, large];
});

function setting(name) {
  const written = config(name);
  if (written === undefined) return undefined;
  const value = number(written);
  if (value === undefined) throw new Fault(`\`${name}\` is not a number`, "config");
  return value;
}

// Digits alone, where `Number` would take a sign and spaces as well; 15 of them are exact in any language.
function number(text) {
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}
