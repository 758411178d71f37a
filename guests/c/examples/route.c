// Orders go on to `main`, large ones to `large` as well. An order's value is its amount in cents; its header `kind` may
// say `test`, which goes nowhere, or `held`, which is to come a second time.
//
// Configuration: `large` is the amount from which on an order is large (100000), `hold-ms` how long one is held (without
// it, the stage's back-off).

#include "millstream.h"
#include <stdlib.h>
#include <string.h>

// Digits alone, where strtoull would take a sign and blanks as well; 15 of them are exact in any language.
static bool number(ms_bytes text, uint64_t *number) {
  if (!text.len || text.len > 15 || strspn((char *)text.ptr, "0123456789") != text.len) return false;
  *number = strtoull((char *)text.ptr, NULL, 10);
  return true;
}

// Leaves the number as it is when there is no such setting.
static ms_status setting(const char *name, uint64_t *setting) {
  const char *text = ms_config(name);
  if (!text || number(ms_text("%s", text), setting)) return MS_OK;
  return ms_fault("config", "`%s` is not a number", name);
}

static ms_status hold(void) {
  uint64_t wait = UINT64_MAX;
  if (setting("hold-ms", &wait)) return MS_FAILED;
  if (wait == UINT64_MAX) return ms_retry("held", "the order is held");
  return ms_retry_after(wait, "held", "the order is held");
}

ms_status ms_transform(ms_bytes key, ms_bytes order) {
  if (!order.ptr) return ms_emit(key, MS_NONE), MS_OK;
  ms_metadata origin = ms_origin();
  ms_bytes kind = ms_find_header("kind");
  if (ms_is(kind, "test")) return MS_OK;
  if (ms_is(kind, "held") && origin.attempt == 1) return hold();

  uint64_t amount, large = 100000;
  if (!number(order, &amount)) return ms_reject("no-number", "the amount is not a number of cents");
  if (setting("large", &large)) return MS_FAILED;

  ms_record *main = ms_emit(key, order);
  ms_header(main, "checked", MS_NONE);
  ms_header(main, "route", ms_text("main"));
  if (amount < large) return MS_OK;
  ms_header(main, "route", ms_text("large"));

  ms_record *copy = ms_emit(kind.ptr ? kind : ms_text("plain"), order);
  ms_to(copy, "large");
  ms_replace_headers(copy);
  ms_header(copy, "from", ms_text("%s", origin.topic));
  ms_header(copy, "from", ms_text("%s/%u@%llu", origin.input, origin.partition, origin.offset));
  ms_header(copy, "checked", MS_NONE);
  // Those of a minute stand together.
  if (origin.has_timestamp) ms_at(copy, origin.timestamp - origin.timestamp % 60000);
  return MS_OK;
}
