/* What a stage in C is written against: it defines `ms_transform`, and `ms_open` when there is something to check first.
 *
 * Nothing is ever freed by hand. What comes from here lasts until the call ends, and what `ms_config` gives for ever.
 * An instance may be replaced between any two records, and a record may come twice: statics are a cache, never the
 * truth. */
#ifndef MILLSTREAM_H
#define MILLSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MS_FORMAT(at) __attribute__((format(printf, at, at + 1)))

/* A key, a value, or a header's value. `ptr` NULL is none, which is not the same as empty: a record without a value is a
 * tombstone. Bytes that come from here may be changed in place. A NUL that `len` does not count stands behind them, so
 * that text can be read as a string. */
typedef struct {
  uint8_t *ptr;
  size_t len;
} ms_bytes;

#define MS_NONE ((ms_bytes){NULL, 0})

/* How a call ends. What is not MS_OK comes from one of the functions that say why. */
typedef enum { MS_OK, MS_FAILED } ms_status;

/* The author's: what becomes of a record. */
ms_status ms_transform(ms_bytes key, ms_bytes value);

/* The author's, if there is one: called once before the first record; see `ms_refuse`. */
ms_status ms_open(void);

/* --- Records on their way out ------------------------------------------------------------------------------------- */

typedef struct ms_record ms_record;

/* One record more, to the first output. The input's headers and timestamp go along, and the key decides the partition.
 * Key and value are not copied: what lies on the stack goes through `ms_copy` first. */
ms_record *ms_emit(ms_bytes key, ms_bytes value);

/* To one of the stage's outputs, by its name in the manifest. */
void ms_to(ms_record *record, const char *output);

/* To this partition, whatever the key is. */
void ms_partition(ms_record *record, uint32_t number);

/* At this time, in milliseconds since 1970. */
void ms_at(ms_record *record, int64_t timestamp);

/* One header more. A name may stand twice, and the value may be none. */
void ms_header(ms_record *record, const char *name, ms_bytes value);

/* Drops all headers so far, the input's among them. Those given after this stand instead. */
void ms_replace_headers(ms_record *record);

/* --- Failures: `return ms_reject("no-number", "%s is no number", text);`. `code` groups them and may be NULL. ----- */

/* The record is wrong and always will be. */
ms_status ms_reject(const char *code, const char *format, ...) MS_FORMAT(2);

/* It may go through later: the manifest says when it is tried again. */
ms_status ms_retry(const char *code, const char *format, ...) MS_FORMAT(2);

/* It may go through after that many milliseconds. */
ms_status ms_retry_after(uint64_t after_ms, const char *code, const char *format, ...) MS_FORMAT(3);

/* The stage's own code failed. */
ms_status ms_fault(const char *code, const char *format, ...) MS_FORMAT(2);

/* From `ms_open` alone: the stage does not start, as its configuration is wrong. */
ms_status ms_refuse(const char *format, ...) MS_FORMAT(1);

/* --- The record in hand, beyond its key and value ----------------------------------------------------------------- */

typedef struct {
  const char *topic; /* its name at the broker */
  const char *input; /* the input's name in the manifest */
  uint32_t partition;
  uint64_t offset;
  bool has_timestamp;
  int64_t timestamp; /* milliseconds since 1970 */
  uint32_t attempt;  /* 1 at first, more when the record is tried again */
} ms_metadata;

ms_metadata ms_origin(void);

typedef struct {
  const char *name;
  ms_bytes value;
} ms_field;

typedef struct {
  ms_field *ptr;
  size_t len;
} ms_fields;

/* All headers, in their order. */
ms_fields ms_headers(void);

/* The value of the first header of this name; none when it has none, or when there is no such header. */
ms_bytes ms_find_header(const char *name);

/* --- All else ----------------------------------------------------------------------------------------------------- */

/* A setting from the manifest, or NULL. */
const char *ms_config(const char *name);

typedef enum { MS_TRACE, MS_DEBUG, MS_INFO, MS_WARN, MS_ERROR } ms_level;

/* A line on the host's log, marked with the stage and the record in hand. */
void ms_log(ms_level level, const char *format, ...) MS_FORMAT(2);

/* That many bytes, all 0. */
ms_bytes ms_alloc(size_t len);

/* A copy of what lies elsewhere. */
ms_bytes ms_copy(const void *ptr, size_t len);

/* A text, as printf writes it. */
ms_bytes ms_text(const char *format, ...) MS_FORMAT(1);

/* Whether the bytes are this text. */
bool ms_is(ms_bytes bytes, const char *text);

#endif
