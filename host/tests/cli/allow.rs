//! What a module may reach, as an operator reads it.

use crate::{
    command::done,
    process::guests,
    support::{Folder, golden},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    thread,
};

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
         input: i\n    output: o\n    allow: {env: {TZ: UTC, KEY: \"${KEY}\"}, dirs: {rates: read, out: write}, http: \
         [api.example.com, \"*.example.com:8443\"]}\n",
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

/// A server that greets whoever asks for `/hello`, and lets everybody else wait.
fn greeter() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(|| {
                let (mut stream, mut asked) = (stream.unwrap(), Vec::new());
                let mut buffer = [0; 1024];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                    asked.extend_from_slice(&buffer[..bytes]);
                    if asked.starts_with(b"GET /hello ") && asked.ends_with(b"\r\n\r\n") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").ok();
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_stage_asks_the_hosts_that_it_is_allowed() {
    let (allowed, denied) = (greeter(), greeter());
    let folder = Folder::with(&format!(
        "name: p\nstages:\n  ask:\n    module: fetch.wasm\n    input: i\n    output: o\n    limits: {{time: 20ms}}\n    \
         allow: {{http: [\"{allowed}\"]}}\n"
    ))
    .file("fetch.wasm", fs::read(guests().join("fetch.wasm")).unwrap());
    let lines = [
        format!("get http://{allowed}/hello"),
        format!("get http://{allowed}/never"),
        format!("get http://{denied}/hello"),
        format!("get http://{allowed}/hello"),
    ];
    let said = folder.says("check pipeline.yaml");
    assert!(said.out.contains("    wasi     http\n"), "{}", said.out);
    assert!(said.out.contains(&format!("    allowed  http {allowed}\n")), "{}", said.out);
    done(folder.says("topics create i --manifest pipeline.yaml --partitions 1"));
    done(folder.given(lines.join("\n"), "produce i --manifest pipeline.yaml"));
    let ran = folder.says("run pipeline.yaml --until-idle=100ms");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches("is denied").count(), 1, "{}", ran.err);
    let read = |words: &str| {
        folder.says(&format!("consume {words} --manifest pipeline.yaml --from-beginning --until-end")).out
    };
    assert_eq!(read("o"), "200 hello\nErrorCode::HttpRequestDenied\n200 hello\n");
    let letters = read("p.ask.dead-letter --format json");
    assert_eq!(letters.lines().count(), 1, "{letters}");
    assert!(letters.contains("wall-time-limit") && letters.contains("/never"), "{letters}");
}
