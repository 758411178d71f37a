;; Calls a stage's `transform` for many records in one call of the host. It is put into the component when that is
;; loaded (batcher.rs), and speaks the canonical ABI to the guest: what it does for one record is what the engine does in
;; a plain call.
;;
;; In comes, for each record: the length of its key and of its value (-1 is none), then the bytes of both.
;; Out goes, for each record that is answered: whether it failed (0 or 1), then
;;   for its records: how many there are, and each as the guest's memory has it (72 bytes), followed by the bytes that it
;;     points to: key, value, headers (20 bytes each, followed by name and value), output;
;;   for a failure: it as the guest's memory has it (48 bytes), followed by its code and its message.
;; The pointers among these mean nothing outside. Whatever is not as it should be ends in a trap, or is seen by who reads
;; it, and that record is done again by a plain call, which knows the words for it.
;;
;; Memory of its own, so that no guest can reach another record's answer: the result's pointer and length, from 16 on
;; what comes in, from 0x50000 on what goes out.
(module
  (import "guest" "memory" (memory $guest 0))
  (import "guest" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
  (import "guest" "transform" (func $transform (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "guest" "post-return" (func $post_return (param i32)))
  ;; Says to the host which record is next, and hears how many to go on with before it is asked again.
  (import "host" "next" (func $next (param i32) (result i32)))

  (memory $own (export "memory") 21 21)

  ;; Where the next byte out goes, and whether one found no room.
  (global $out (mut i32) (i32.const 0))
  (global $full (mut i32) (i32.const 0))

  ;; What comes in has one place.
  (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (if (i32.gt_u (local.get $size) (i32.const 0x4fff0)) (then unreachable))
    (i32.const 16))

  (func (export "transform") (param $at i32) (param $size i32) (result i32)
    (local $end i32) (local $index i32) (local $left i32) (local $start i32) (local $answer i32) (local $stop i32)
    (local $has_key i32) (local $key i32) (local $key_size i32)
    (local $has_value i32) (local $value i32) (local $value_size i32)
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (global.set $out (i32.const 0x50000))
    (block $done
      (loop $records
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eqz (local.get $left)) (then
          (local.set $left (call $next (local.get $index)))
          (br_if $done (i32.eqz (local.get $left)))))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $start (global.get $out))

        (local.set $key_size (i32.load $own (local.get $at)))
        (local.set $value_size (i32.load $own offset=4 (local.get $at)))
        (local.set $has_key (i32.ge_s (local.get $key_size) (i32.const 0)))
        (local.set $has_value (i32.ge_s (local.get $value_size) (i32.const 0)))
        (local.set $key_size (select (local.get $key_size) (i32.const 0) (local.get $has_key)))
        (local.set $value_size (select (local.get $value_size) (i32.const 0) (local.get $has_value)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $key (i32.const 0))
        (if (local.get $has_key) (then (local.set $key (call $give (local.get $at) (local.get $key_size)))))
        (local.set $at (i32.add (local.get $at) (local.get $key_size)))
        (local.set $value (i32.const 0))
        (if (local.get $has_value) (then (local.set $value (call $give (local.get $at) (local.get $value_size)))))
        (local.set $at (i32.add (local.get $at) (local.get $value_size)))

        (local.set $answer (call $transform
          (local.get $has_key) (local.get $key) (local.get $key_size)
          (local.get $has_value) (local.get $value) (local.get $value_size)))
        (local.set $stop (call $take (local.get $answer)))
        (call $post_return (local.get $answer))

        ;; An answer that finds no room is a 2: the host asks for that record again. For this there is always room.
        (if (global.get $full) (then
          (global.set $full (i32.const 0))
          (i32.store $own (local.get $start) (i32.const 2))
          (global.set $out (i32.add (local.get $start) (i32.const 4)))
          (br $done)))
        (br_if $done (local.get $stop))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $records)))
    (i32.store $own (i32.const 0) (i32.const 0x50000))
    (i32.store $own (i32.const 4) (i32.sub (global.get $out) (i32.const 0x50000)))
    (i32.const 0))

  ;; Hands bytes to the guest, as an argument that it owns.
  (func $give (param $from i32) (param $size i32) (result i32)
    (local $to i32)
    (local.set $to (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $size)))
    (call $copy_in (local.get $to) (local.get $from) (local.get $size))
    (local.get $to))

  ;; Takes over the guest's answer. True when the records behind it are to wait: it is to be tried again, or the guest
  ;; says that it is broken.
  (func $take (param $answer i32) (result i32)
    (local $failed i32) (local $record i32) (local $left i32)
    (if (i32.and (local.get $answer) (i32.const 7)) (then unreachable))
    (local.set $failed (i32.load8_u $guest (local.get $answer)))
    (call $put_number (local.get $failed))
    (if (local.get $failed) (then
      (call $put (i32.add (local.get $answer) (i32.const 8)) (i32.const 48))
      (call $put_option (i32.add (local.get $answer) (i32.const 16)))
      (call $put (i32.load $guest offset=28 (local.get $answer)) (i32.load $guest offset=32 (local.get $answer)))
      (return (i32.load8_u $guest offset=8 (local.get $answer)))))
    (local.set $record (i32.load $guest offset=8 (local.get $answer)))
    (local.set $left (i32.load $guest offset=12 (local.get $answer)))
    (if (i32.and (local.get $record) (i32.const 7)) (then unreachable))
    (call $put_number (local.get $left))
    (block $done
      (loop $records
        (br_if $done (i32.or (i32.eqz (local.get $left)) (global.get $full)))
        (call $put (local.get $record) (i32.const 72))
        (call $put_option (local.get $record))
        (call $put_option (i32.add (local.get $record) (i32.const 12)))
        (if (i32.load8_u $guest offset=24 (local.get $record)) (then
          (call $put_headers (i32.load $guest offset=28 (local.get $record))
            (i32.load $guest offset=32 (local.get $record)))))
        (call $put_option (i32.add (local.get $record) (i32.const 36)))
        (local.set $record (i32.add (local.get $record) (i32.const 72)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $records)))
    (i32.const 0))

  (func $put_headers (param $header i32) (param $left i32)
    (if (i32.and (local.get $header) (i32.const 3)) (then unreachable))
    (block $done
      (loop $headers
        (br_if $done (i32.or (i32.eqz (local.get $left)) (global.get $full)))
        (call $put (local.get $header) (i32.const 20))
        (call $put (i32.load $guest (local.get $header)) (i32.load $guest offset=4 (local.get $header)))
        (call $put_option (i32.add (local.get $header) (i32.const 8)))
        (local.set $header (i32.add (local.get $header) (i32.const 20)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $headers))))

  ;; The bytes of an optional string or list, if there is one.
  (func $put_option (param $option i32)
    (if (i32.eq (i32.load8_u $guest (local.get $option)) (i32.const 1)) (then
      (call $put (i32.load $guest offset=4 (local.get $option)) (i32.load $guest offset=8 (local.get $option))))))

  (func $put_number (param $number i32)
    (if (call $has_room (i32.const 4)) (then
      (i32.store $own (global.get $out) (local.get $number))
      (global.set $out (i32.add (global.get $out) (i32.const 4))))))

  (func $put (param $from i32) (param $size i32)
    (if (call $has_room (local.get $size)) (then
      (call $copy_out (global.get $out) (local.get $from) (local.get $size))
      (global.set $out (i32.add (global.get $out) (local.get $size))))))

  ;; What an instruction of WebAssembly copies, the engine copies by a call: for a few bytes that takes longer than they
  ;; do. One of the two for each way, as an instruction names its memories itself.
  (func $copy_in (param $to i32) (param $from i32) (param $size i32)
    (if (i32.gt_u (local.get $size) (i32.const 512)) (then
      (memory.copy $guest $own (local.get $to) (local.get $from) (local.get $size))
      (return)))
    (block $done
      (loop $words
        (br_if $done (i32.lt_u (local.get $size) (i32.const 16)))
        (v128.store $guest (local.get $to) (v128.load $own (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $size (i32.sub (local.get $size) (i32.const 16)))
        (br $words)))
    (if (i32.and (local.get $size) (i32.const 8)) (then
      (i64.store $guest (local.get $to) (i64.load $own (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 8)))
      (local.set $from (i32.add (local.get $from) (i32.const 8)))))
    (if (i32.and (local.get $size) (i32.const 4)) (then
      (i32.store $guest (local.get $to) (i32.load $own (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 4)))
      (local.set $from (i32.add (local.get $from) (i32.const 4)))))
    (if (i32.and (local.get $size) (i32.const 2)) (then
      (i32.store16 $guest (local.get $to) (i32.load16_u $own (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))))
    (if (i32.and (local.get $size) (i32.const 1)) (then
      (i32.store8 $guest (local.get $to) (i32.load8_u $own (local.get $from))))))

  (func $copy_out (param $to i32) (param $from i32) (param $size i32)
    (if (i32.gt_u (local.get $size) (i32.const 512)) (then
      (memory.copy $own $guest (local.get $to) (local.get $from) (local.get $size))
      (return)))
    (block $done
      (loop $words
        (br_if $done (i32.lt_u (local.get $size) (i32.const 16)))
        (v128.store $own (local.get $to) (v128.load $guest (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $size (i32.sub (local.get $size) (i32.const 16)))
        (br $words)))
    (if (i32.and (local.get $size) (i32.const 8)) (then
      (i64.store $own (local.get $to) (i64.load $guest (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 8)))
      (local.set $from (i32.add (local.get $from) (i32.const 8)))))
    (if (i32.and (local.get $size) (i32.const 4)) (then
      (i32.store $own (local.get $to) (i32.load $guest (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 4)))
      (local.set $from (i32.add (local.get $from) (i32.const 4)))))
    (if (i32.and (local.get $size) (i32.const 2)) (then
      (i32.store16 $own (local.get $to) (i32.load16_u $guest (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))))
    (if (i32.and (local.get $size) (i32.const 1)) (then
      (i32.store8 $own (local.get $to) (i32.load8_u $guest (local.get $from))))))

  (func $has_room (param $size i32) (result i32)
    (if (i32.gt_u (local.get $size) (i32.sub (i32.const 0x14fffc) (global.get $out)))
      (then (global.set $full (i32.const 1))))
    (i32.eqz (global.get $full)))
)
