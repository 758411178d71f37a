//! What a module may reach, as an operator reads it.

use crate::support::{Folder, golden};

/// A stage whose tools bring WASI: it looks at a clock, prints, and gives nothing.
const STAGE: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    (memory (export "memory") 4)
    (global $free (mut i32) (i32.const 65536))
    (data (i32.const 0) "\10\00\00\00\06\00\00\00")
    (data (i32.const 16) "hello\n")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $free)
        (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
    (func (export "millstream:stage/transformer@0.1.0#transform") (param i32 i32 i32 i32 i32 i32) (result i32)
        (if (call $clock (i32.const 0) (i64.const 0) (i32.const 512)) (then unreachable))
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 520)) (then unreachable))
        (i32.const 1024)))"#;

/// A source that imports nothing, and has nothing.
const SOURCE: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 32) "\01")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "millstream:stage/poller@0.1.0#poll") (param i32 i32 i32) (result i32) i32.const 0))"#;

#[test]
fn a_check_shows_what_a_module_imports_and_what_it_is_allowed() {
    let folder = Folder::with(
        "name: p\nsources:\n  none: {module: source.wasm, output: i}\n  some: {module: source.wasm, output: i, allow: \
         {env: {TZ: UTC}}}\nstages:\n  closed: {module: stage.wasm, input: i, output: o}\n  open:\n    module: stage.wasm\n    \
         input: i\n    output: o\n    allow: {env: {TZ: UTC, KEY: \"${KEY}\"}, dirs: {rates: read, out: write}}\n",
    )
    .module("source.wasm", SOURCE)
    .module("stage.wasm", STAGE)
    .file("rates/today", "")
    .file("out/today", "")
    .set("KEY", "swordfish");
    let said = folder.says("check pipeline.yaml");
    assert!(said.out.lines().filter(|line| !line.contains("sha256")).all(|line| line.chars().count() <= 80));
    assert!(!said.out.contains("swordfish"), "{}", said.out);
    golden("allow", &[said]);
}

#[test]
fn what_a_module_prints_is_not_what_comes_of_a_record() {
    let folder = Folder::new().module("stage.wasm", STAGE);
    let said = folder.given("one\n", "try stage.wasm");
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.shown());
    assert!(said.err.contains("hello"), "{}", said.err);
}
