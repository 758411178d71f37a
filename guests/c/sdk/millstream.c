#include "millstream.h"
#include "wit.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Memory that lasts until the call ends ------------------------------------------------------------------------ */

enum { ROOM = 16 << 10 };

static _Alignas(8) uint8_t first[ROOM];
static uint8_t *room = first, *end = first + ROOM;

typedef struct more {
  _Alignas(8) struct more *before;
} more;

static more *chunks; /* those behind the first */

static void *take(size_t size) {
  if (size > SIZE_MAX / 2) abort();
  size = (size + 7) & ~(size_t)7;
  if (size > (size_t)(end - room)) {
    size_t most = size > ROOM ? size : ROOM;
    more *chunk = malloc(sizeof *chunk + most);
    if (!chunk) abort();
    chunk->before = chunks, chunks = chunk;
    room = (uint8_t *)(chunk + 1), end = room + most;
  }
  uint8_t *taken = room;
  room += size;
  return taken;
}

static void *take_zeroed(size_t size) { return memset(take(size), 0, size); }

static void give_back(void) {
  while (chunks) {
    more *chunk = chunks;
    chunks = chunk->before;
    free(chunk);
  }
  room = first, end = first + ROOM;
}

/* The host asks here for room: for what it passes, and for what imports give. A NUL goes behind all of it. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)align;
  uint8_t *taken = take(size + 1);
  if (old_size) memcpy(taken, old, old_size < size ? old_size : size);
  taken[size] = 0;
  return taken;
}

/* And WASI's adapter here, which keeps what it takes. */
__attribute__((export_name("cabi_realloc_adapter"))) void *cabi_realloc_adapter(void *old, size_t old_size,
                                                                                size_t align, size_t size) {
  (void)old_size, (void)align;
  void *taken = realloc(old, size);
  if (!taken) abort();
  return taken;
}

/* These and cabi_realloc stand in place of the generated ones, which free each part by itself. */
__attribute__((export_name("cabi_post_millstream:stage/transformer@0.1.0#transform"))) void
__wasm_export_exports_millstream_stage_transformer_transform_post_return(uint8_t *result) {
  (void)result;
  give_back();
}

__attribute__((export_name("cabi_post_millstream:stage/lifecycle@0.1.0#open"))) void
__wasm_export_exports_millstream_stage_lifecycle_open_post_return(uint8_t *result) {
  (void)result;
  give_back();
}

/* --- Bytes and text ----------------------------------------------------------------------------------------------- */

ms_bytes ms_alloc(size_t len) {
  if (len > SIZE_MAX / 2) abort();
  return (ms_bytes){take_zeroed(len + 1), len};
}

ms_bytes ms_copy(const void *ptr, size_t len) {
  ms_bytes copy = ms_alloc(len);
  if (len) memcpy(copy.ptr, ptr, len);
  return copy;
}

static ms_bytes format_text(const char *format, va_list values) {
  va_list again;
  va_copy(again, values);
  int len = vsnprintf(NULL, 0, format, again);
  va_end(again);
  ms_bytes text = ms_alloc(len < 0 ? 0 : len);
  vsnprintf((char *)text.ptr, text.len + 1, format, values);
  return text;
}

#define FORMAT(text, format)                                                                                           \
  va_list values;                                                                                                      \
  va_start(values, format);                                                                                            \
  ms_bytes text = format_text(format, values);                                                                         \
  va_end(values)

ms_bytes ms_text(const char *format, ...) {
  FORMAT(text, format);
  return text;
}

bool ms_is(ms_bytes bytes, const char *text) {
  return bytes.ptr && bytes.len == strlen(text) && !memcmp(bytes.ptr, text, bytes.len);
}

static wit_list_u8_t list(ms_bytes bytes) { return (wit_list_u8_t){bytes.ptr, bytes.len}; }

static ms_bytes bytes_or_none(const wit_list_u8_t *list) {
  if (!list) return MS_NONE;
  return list->len ? (ms_bytes){list->ptr, list->len} : ms_alloc(0);
}

/* How many bytes the character at `at` has in UTF-8; 0 when it is none. */
static size_t character(const uint8_t *at) {
  size_t more = 0;
  uint8_t low = 0x80, high = 0xBF;
  if (*at < 0x80) return 1;
  if (*at >= 0xC2 && *at <= 0xDF) more = 1;
  if (*at >= 0xE0 && *at <= 0xEF) more = 2;
  if (*at >= 0xF0 && *at <= 0xF4) more = 3;
  if (!more) return 0;
  if (*at == 0xE0) low = 0xA0;
  if (*at == 0xED) high = 0x9F;
  if (*at == 0xF0) low = 0x90;
  if (*at == 0xF4) high = 0x8F;
  for (size_t i = 1; i <= more; i++) {
    if (at[i] < low || at[i] > high) return 0;
    low = 0x80, high = 0xBF;
  }
  return more + 1;
}

/* A copy for the host, which takes nothing but UTF-8: all else becomes a question mark. */
static wit_string_t string(const char *text) {
  ms_bytes copy = ms_copy(text, strlen(text));
  for (uint8_t *at = copy.ptr; *at;) {
    size_t len = character(at);
    if (!len) *at = '?';
    at += len ? len : 1;
  }
  return (wit_string_t){copy.ptr, copy.len};
}

/* --- Records on their way out ------------------------------------------------------------------------------------- */

typedef exports_millstream_stage_transformer_list_record_t wire_records;

struct ms_record {
  millstream_stage_types_record_t wire;
  size_t headers_room;
  ms_record *next;
};

static ms_record *records, *last;
static size_t count;

ms_record *ms_emit(ms_bytes key, ms_bytes value) {
  ms_record *record = take_zeroed(sizeof *record);
  if ((record->wire.key.is_some = key.ptr)) record->wire.key.val = list(key);
  if ((record->wire.value.is_some = value.ptr)) record->wire.value.val = list(value);
  if (last) last->next = record;
  else records = record;
  last = record, count++;
  return record;
}

void ms_to(ms_record *record, const char *output) {
  record->wire.output.is_some = true;
  record->wire.output.val = string(output);
}

void ms_partition(ms_record *record, uint32_t number) {
  record->wire.partition.is_some = true;
  record->wire.partition.val = number;
}

void ms_at(ms_record *record, int64_t timestamp) {
  record->wire.timestamp.is_some = true;
  record->wire.timestamp.val = timestamp;
}

void ms_header(ms_record *record, const char *name, ms_bytes value) {
  millstream_stage_types_header_edit_t *edit = &record->wire.headers;
  if (edit->tag == MILLSTREAM_STAGE_TYPES_HEADER_EDIT_KEEP) edit->tag = MILLSTREAM_STAGE_TYPES_HEADER_EDIT_ADD;
  millstream_stage_types_list_header_t *headers = &edit->val.add; /* `replace` lies in the same place */
  if (headers->len == record->headers_room) {
    size_t room = headers->len ? 2 * headers->len : 4;
    millstream_stage_types_header_t *wider = take(room * sizeof *wider);
    if (headers->len) memcpy(wider, headers->ptr, headers->len * sizeof *wider);
    headers->ptr = wider, record->headers_room = room;
  }
  millstream_stage_types_header_t *header = &headers->ptr[headers->len++];
  *header = (millstream_stage_types_header_t){.name = string(name)};
  if ((header->value.is_some = value.ptr)) header->value.val = list(value);
}

void ms_replace_headers(ms_record *record) {
  memset(&record->wire.headers, 0, sizeof record->wire.headers);
  record->wire.headers.tag = MILLSTREAM_STAGE_TYPES_HEADER_EDIT_REPLACE;
  record->headers_room = 0;
}

static wire_records all_records(void) {
  wire_records all = {take(count * sizeof *all.ptr), 0};
  for (ms_record *record = records; record; record = record->next) all.ptr[all.len++] = record->wire;
  return all;
}

/* --- Failures ----------------------------------------------------------------------------------------------------- */

static exports_millstream_stage_transformer_failure_t failure;

static millstream_stage_types_reason_t reason(const char *code, ms_bytes message) {
  millstream_stage_types_reason_t reason = {.message = string((char *)message.ptr)};
  if ((reason.code.is_some = code)) reason.code.val = string(code);
  return reason;
}

static ms_status fail(uint8_t tag, const char *code, ms_bytes message) {
  memset(&failure, 0, sizeof failure);
  failure.tag = tag;
  failure.val.reject = reason(code, message); /* the others' reasons lie in the same place */
  return MS_FAILED;
}

ms_status ms_reject(const char *code, const char *format, ...) {
  FORMAT(message, format);
  return fail(MILLSTREAM_STAGE_TYPES_FAILURE_REJECT, code, message);
}

ms_status ms_retry(const char *code, const char *format, ...) {
  FORMAT(message, format);
  return fail(MILLSTREAM_STAGE_TYPES_FAILURE_RETRY, code, message);
}

ms_status ms_retry_after(uint64_t after_ms, const char *code, const char *format, ...) {
  FORMAT(message, format);
  fail(MILLSTREAM_STAGE_TYPES_FAILURE_RETRY, code, message);
  failure.val.retry.after_ms.is_some = true;
  failure.val.retry.after_ms.val = after_ms;
  return MS_FAILED;
}

ms_status ms_fault(const char *code, const char *format, ...) {
  FORMAT(message, format);
  return fail(MILLSTREAM_STAGE_TYPES_FAILURE_FAULT, code, message);
}

ms_status ms_refuse(const char *format, ...) {
  FORMAT(message, format);
  return fail(MILLSTREAM_STAGE_TYPES_FAILURE_REJECT, NULL, message);
}

/* --- What the host knows ------------------------------------------------------------------------------------------ */

ms_metadata ms_origin(void) {
  millstream_stage_context_metadata_t wire;
  millstream_stage_context_origin(&wire);
  return (ms_metadata){
      .topic = (char *)wire.topic.ptr,
      .input = (char *)wire.input.ptr,
      .partition = wire.partition,
      .offset = wire.offset,
      .has_timestamp = wire.timestamp.is_some,
      .timestamp = wire.timestamp.is_some ? wire.timestamp.val : 0,
      .attempt = wire.attempt,
  };
}

ms_fields ms_headers(void) {
  millstream_stage_context_list_header_t wire;
  millstream_stage_context_headers(&wire);
  ms_fields fields = {take(wire.len * sizeof *fields.ptr), wire.len};
  for (size_t i = 0; i < wire.len; i++) {
    wit_option_list_u8_t *value = &wire.ptr[i].value;
    fields.ptr[i] = (ms_field){(char *)wire.ptr[i].name.ptr, bytes_or_none(value->is_some ? &value->val : NULL)};
  }
  return fields;
}

ms_bytes ms_find_header(const char *name) {
  ms_fields headers = ms_headers();
  for (size_t i = 0; i < headers.len; i++)
    if (!strcmp(headers.ptr[i].name, name)) return headers.ptr[i].value;
  return MS_NONE;
}

/* Settings never change, so each is asked for once. */
typedef struct setting {
  struct setting *next;
  char *name, *value;
} setting;

static setting *settings;

static char *keep(const char *text) {
  char *copy = strdup(text);
  if (!copy) abort();
  return copy;
}

const char *ms_config(const char *name) {
  for (setting *known = settings; known; known = known->next)
    if (!strcmp(known->name, name)) return known->value;
  wit_string_t asked = string(name), value;
  bool is_set = millstream_stage_config_get(&asked, &value);
  setting *known = malloc(sizeof *known);
  if (!known) abort();
  *known = (setting){settings, keep(name), is_set ? keep((char *)value.ptr) : NULL};
  settings = known;
  return known->value;
}

void ms_log(ms_level level, const char *format, ...) {
  FORMAT(line, format);
  wit_string_t message = string((char *)line.ptr);
  millstream_stage_log_write(level, &message);
}

/* --- What the host calls ------------------------------------------------------------------------------------------ */

__attribute__((weak)) ms_status ms_open(void) { return MS_OK; }

static void begin(void) {
  records = last = NULL, count = 0;
  static char unsaid[] = "the stage failed and did not say why";
  memset(&failure, 0, sizeof failure);
  failure.tag = MILLSTREAM_STAGE_TYPES_FAILURE_FAULT;
  failure.val.fault.message = (wit_string_t){(uint8_t *)unsaid, sizeof unsaid - 1};
}

bool exports_millstream_stage_transformer_transform(wit_list_u8_t *key, wit_list_u8_t *value, wire_records *out,
                                                    exports_millstream_stage_transformer_failure_t *why) {
  begin();
  if (ms_transform(bytes_or_none(key), bytes_or_none(value)) == MS_OK) return *out = all_records(), true;
  *why = failure;
  return false;
}

bool exports_millstream_stage_lifecycle_open(wit_string_t *why) {
  begin();
  if (ms_open() == MS_OK) return true;
  *why = failure.val.reject.message;
  return false;
}
