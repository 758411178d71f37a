// Puts a currency behind every value, and refuses to start with one that is wrong.
//
// Configuration: `currency`, three capital letters.

#include "millstream.h"
#include <string.h>

static const char *currency(void) {
  const char *currency = ms_config("currency");
  return currency ? currency : "";
}

ms_status ms_open(void) {
  size_t capitals = strspn(currency(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  if (capitals == 3 && !currency()[3]) return MS_OK;
  return ms_refuse("`currency: %s` is not three capital letters, as EUR is", currency());
}

ms_status ms_transform(ms_bytes key, ms_bytes value) {
  if (value.ptr) {
    ms_bytes amount = value;
    value = ms_alloc(amount.len + 4);
    memcpy(value.ptr, amount.ptr, amount.len);
    value.ptr[amount.len] = ' ';
    memcpy(value.ptr + amount.len + 1, currency(), 3);
  }
  ms_emit(key, value);
  return MS_OK;
}
