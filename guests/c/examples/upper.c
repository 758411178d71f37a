// The smallest stage: the value in upper case.

#include "millstream.h"
#include <ctype.h>

ms_status ms_transform(ms_bytes key, ms_bytes value) {
  for (size_t i = 0; i < value.len; i++) value.ptr[i] = toupper(value.ptr[i]);
  ms_emit(key, value);
  return MS_OK;
}
