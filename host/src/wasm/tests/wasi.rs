//! What a guest whose tools bring WASI may do, and what it may not.

use crate::wasm::{
    Allowed, Folder, Instance, Limits, Setup,
    fixture::{One, lines, loaded, setup, show},
    imports::linker,
    wasi::INTERFACES,
};
use std::{
    fs,
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};
use wasmtime::component::Component;

/// A stage without a component's type, as Go and C make it: it calls WASI's first version, and gives nothing.
fn stage(body: &str) -> Instance {
    stage_with("", body)
}

fn stage_with(realloc: &str, body: &str) -> Instance {
    set_up(setup(), realloc, body)
}

fn set_up(setup: Setup, realloc: &str, body: &str) -> Instance {
    let wat = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "adapter_monotonic_clock_set_paused" (func $stop (param i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environment (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $arguments (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_prestat_get" (func $folder (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $variables (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $fill (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 8)
            (global $free (mut i32) (i32.const 65536))
            (data (i32.const 0) "hello\n\nGr\c3\bc\c3\9fe\r\nthe end")
            (data (i32.const 64) "rates.txt")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                {realloc}
                (global.get $free)
                (global.set $free ;; to the next 8
                    (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
            ;; prints bytes of the text
            (func $print (param $to i32) (param $from i32) (param $bytes i32)
                (i32.store (i32.const 512) (local.get $from))
                (i32.store (i32.const 516) (local.get $bytes))
                (if (call $write (local.get $to) (i32.const 512) (i32.const 1) (i32.const 520)) (then unreachable)))
            ;; opens the file in the folder, with these flags and rights
            (func $file (param $flags i32) (param $rights i64) (result i32)
                (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 9)
                    (local.get $flags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 528)))
            (func $read (param $clock i32) (param $to i32)
                (if (call $clock (local.get $clock) (i64.const 0) (local.get $to)) (then unreachable)))
            (func $sleep (param $nanoseconds i64)
                (i32.store8 (i32.const 608) (i32.const 0)) ;; by the clock,
                (i32.store (i32.const 616) (i32.const 1)) ;; the monotonic one,
                (i64.store (i32.const 624) (local.get $nanoseconds)) ;; from now on
                (if (call $poll (i32.const 600) (i32.const 700) (i32.const 1) (i32.const 800)) (then unreachable)))
            (func (export "millstream:stage/transformer@0.1.0#transform") (param i32 i32 i32 i32 i32 i32) (result i32)
                {body}
                (memory.fill (i32.const 904) (i32.const 0) (i32.const 16)) ;; no records
                (i32.const 904)))"#
    );
    let folder = tempfile::tempdir().unwrap();
    let compiled = loaded(folder.path(), &wat::parse_str(wat).unwrap()).unwrap();
    Instance::new(&compiled, setup).unwrap()
}

fn says(stage: &mut Instance) -> String {
    show(&One::of("v").hand_to(stage))
}

const MARK: &str = "stage=trial topic=orders-prod partition=3 offset=42";

#[test]
fn what_is_printed_stands_on_the_log_line_by_line() {
    let body = "
        (call $print (i32.const 1) (i32.const 0) (i32.const 3))
        (call $print (i32.const 2) (i32.const 0) (i32.const 6))
        (call $print (i32.const 1) (i32.const 3) (i32.const 20))";
    let mut stage = stage(body);
    let (said, lines) = lines(|| says(&mut stage));
    assert_eq!(said, "nothing");
    let expected = ["WARN hello", "INFO hello", "INFO Grüße", "INFO the end"].map(|line| format!("{line} {MARK}"));
    assert_eq!(lines, expected, "an empty line says nothing, the last one need not end");
}

#[test]
fn what_is_printed_is_no_flood() {
    let mut stage = stage(
        "(local $i i32)
        (loop $again
            (call $print (i32.const 1) (i32.const 0) (i32.const 6))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))",
    );
    let (_, lines) = lines(|| says(&mut stage));
    assert_eq!(lines.len(), 21, "{lines:?}");
    assert_eq!(lines[20], "WARN 980 lines dropped: a call may write 20, an instance 200 a second stage=trial");
}

#[test]
fn what_is_asked_by_way_of_wasi_is_counted() {
    let body = "(local $i i32)
        (loop $again
            (call $read (i32.const 1) (i32.const 560))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))";
    let limited = |host_calls| Setup { limits: Limits { host_calls, ..Limits::default() }, ..setup() };
    let over = "limit(host-call-limit) asked more of the host than its limit of 999 calls";
    assert_eq!(says(&mut set_up(limited(999), "", body)), over);
    assert_eq!(says(&mut set_up(limited(1010), "", body)), "nothing");
}

#[test]
fn a_long_line_is_cut() {
    let body = "
        (memory.fill (i32.const 2048) (i32.const 120) (i32.const 2000))
        (call $print (i32.const 1) (i32.const 2048) (i32.const 2000))";
    let mut stage = stage(body);
    let (_, lines) = lines(|| says(&mut stage));
    assert_eq!(lines, [format!("INFO {}… {MARK}", "x".repeat(1024))]);
}

#[test]
fn clocks_and_random_numbers_work() {
    let body = "
        (call $read (i32.const 0) (i32.const 1000))
        (if (i64.lt_u (i64.load (i32.const 1000)) (i64.const 1_700_000_000_000_000_000)) (then unreachable))
        (call $read (i32.const 1) (i32.const 1000))
        (call $sleep (i64.const 5_000_000))
        (call $read (i32.const 1) (i32.const 1008))
        (i64.sub (i64.load (i32.const 1008)) (i64.load (i32.const 1000)))
        (if (i64.lt_u (i64.const 5_000_000)) (then unreachable))
        (if (i32.or (call $random (i32.const 1000) (i32.const 8)) (call $random (i32.const 1008) (i32.const 8)))
            (then unreachable))
        (if (i64.eq (i64.load (i32.const 1000)) (i64.load (i32.const 1008))) (then unreachable))";
    assert_eq!(says(&mut stage(body)), "nothing");
}

#[test]
fn there_is_no_environment_no_argument_and_no_folder() {
    let body = "
        (if (i32.or (call $environment (i32.const 1000) (i32.const 1004))
                    (call $arguments (i32.const 1008) (i32.const 1012))) (then unreachable))
        (if (i32.or (i32.load (i32.const 1000)) (i32.load (i32.const 1008))) (then unreachable))
        (if (i32.ne (call $folder (i32.const 3) (i32.const 1000)) (i32.const 8)) (then unreachable)) ;; no such file";
    assert_eq!(says(&mut stage(body)), "nothing");
}

#[test]
fn a_variable_that_is_allowed_is_the_only_one() {
    let body = "
        (if (call $environment (i32.const 1000) (i32.const 1004)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 1000)) (i32.const 1)) (then unreachable))
        (if (call $variables (i32.const 1000) (i32.const 2048)) (then unreachable))
        (call $print (i32.const 1) (i32.const 2048) (i32.const 6))";
    let env = vec![("TZ".into(), "UTC".into())];
    let allowed = Allowed { env, ..Allowed::default() };
    let mut stage = set_up(Setup { allowed, ..setup() }, "", body);
    let (said, lines) = lines(|| says(&mut stage));
    assert_eq!((said.as_str(), lines), ("nothing", vec![format!("INFO TZ=UTC {MARK}")]));
}

/// A stage that may use a folder with `rates.txt`.
fn with_folder(writable: bool, body: &str) -> (tempfile::TempDir, Instance) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rates.txt"), "EUR 2").unwrap();
    let dirs = vec![Folder { name: "data".into(), path: folder.path().into(), writable }];
    let allowed = Allowed { dirs, ..Allowed::default() };
    (folder, set_up(Setup { allowed, ..setup() }, "", body))
}

#[test]
fn a_folder_that_is_allowed_can_be_read() {
    let body = "
        (if (call $file (i32.const 0) (i64.const 2)) (then unreachable)) ;; to read
        (i32.store (i32.const 512) (i32.const 2048)) (i32.store (i32.const 516) (i32.const 100))
        (if (call $fill (i32.load (i32.const 528)) (i32.const 512) (i32.const 1) (i32.const 520)) (then unreachable))
        (call $print (i32.const 1) (i32.const 2048) (i32.load (i32.const 520)))";
    let (_folder, mut stage) = with_folder(false, body);
    let (said, lines) = lines(|| says(&mut stage));
    assert_eq!((said.as_str(), lines), ("nothing", vec![format!("INFO EUR 2 {MARK}")]));
}

/// To open one waits until there is somebody at its other end.
#[test]
fn a_pipe_in_a_folder_holds_up_nobody() {
    // To read, to write, and to cut off; with and without following links.
    for (follow, flags, rights) in [(0, 0, 2), (0, 0, 64), (0, 8, 64), (1, 0, 2)] {
        let body = format!(
            "(call $open (i32.const 3) (i32.const {follow}) (i32.const 64) (i32.const 9)
                (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 528))
            (if (i32.ne (i32.const 63)) (then unreachable)) ;; it is not permitted"
        );
        let (folder, mut stage) = with_folder(true, &body);
        let path = |name: &str| folder.path().join(name);
        fs::remove_file(path("rates.txt")).unwrap();
        let pipe = if follow == 0 { "rates.txt" } else { "pipe" };
        assert!(Command::new("mkfifo").arg(path(pipe)).status().unwrap().success());
        if follow == 1 {
            symlink(pipe, path("rates.txt")).unwrap();
        }
        assert_eq!(says(&mut stage), "nothing", "{follow} {flags} {rights}");
    }
}

#[test]
fn a_folder_is_changed_only_where_that_is_allowed() {
    let cut = |expected: &str| {
        format!("(if (i32.{expected} (call $file (i32.const 8) (i64.const 64))) (then unreachable))") // cut off, to write
    };
    let (folder, mut stage) = with_folder(false, &cut("eqz"));
    assert_eq!(says(&mut stage), "nothing", "it is refused");
    assert_eq!(fs::read_to_string(folder.path().join("rates.txt")).unwrap(), "EUR 2");
    let (folder, mut stage) = with_folder(true, &cut("ne (i32.const 0)"));
    assert_eq!(says(&mut stage), "nothing");
    assert_eq!(fs::read_to_string(folder.path().join("rates.txt")).unwrap(), "");
}

#[test]
fn a_sleep_ends_with_the_call_s_time() {
    let limits = Limits { time: Duration::from_millis(20), ..Limits::default() };
    let mut sleeper = set_up(Setup { limits, ..setup() }, "", "(call $sleep (i64.const 60_000_000_000))");
    let before = Instant::now();
    let ended = "limit(wall-time-limit) took longer than its limit of 200ms, ten times its limit of CPU time";
    assert_eq!([says(&mut sleeper), says(&mut sleeper)], [ended, ended], "the second on a fresh instance");
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
}

#[test]
fn a_guest_that_ends_itself_is_at_fault() {
    let mut stage = stage("(call $print (i32.const 2) (i32.const 0) (i32.const 6)) (call $exit (i32.const 3))");
    let (said, lines) = lines(|| says(&mut stage));
    assert_eq!(said, "fault(exit) ended itself with exit code 1", "WASI 0.2 knows but success and failure");
    assert_eq!(lines, [format!("WARN hello {MARK}")], "what it said before is not lost");
}

/// Go's collector looks at both clocks wherever it comes to its end.
#[test]
fn a_stopped_clock_may_be_read_where_nothing_may_be_called() {
    let body = "
        (if (i32.eqz (i32.load (i32.const 1016))) (then
            (call $read (i32.const 0) (i32.const 1000)) (call $read (i32.const 1) (i32.const 1008)))
        (else
            (if (i64.ne (i64.load (i32.const 1000)) (i64.load (i32.const 1024))) (then unreachable))
            (if (i64.ne (i64.load (i32.const 1008)) (i64.load (i32.const 1032))) (then unreachable))
            (call $stop (i32.const 0))
            (call $read (i32.const 0) (i32.const 1000)) (call $read (i32.const 1) (i32.const 1008))
            (if (i64.eq (i64.load (i32.const 1008)) (i64.load (i32.const 1032))) (then unreachable))))
        (call $stop (i32.const 1))
        (i32.store (i32.const 1016) (i32.const 1))";
    // While values are handed to it: when the clocks stand still, or when they do not.
    let when = |stopped: &str| {
        format!(
            "(if (i32.{stopped} (i32.load (i32.const 1016))) (then
                (call $read (i32.const 0) (i32.const 1024)) (call $read (i32.const 1) (i32.const 1032))))"
        )
    };
    let mut stopped = stage_with(&when("ne (i32.const 0)"), body);
    assert_eq!([says(&mut stopped), says(&mut stopped), says(&mut stopped)], ["nothing"; 3]);
    let trapped = says(&mut stage_with(&when("eqz"), body));
    assert!(trapped.starts_with("fault(trap)") && trapped.contains("leave"), "{trapped}");
}

#[test]
fn every_interface_that_a_module_may_import_is_there() {
    let engine = wasmtime::Engine::default();
    let imports: String = INTERFACES.iter().map(|name| format!(r#"(import "{name}@0.2.0" (instance))"#)).collect();
    let component = Component::new(&engine, wat::parse_str(format!("(component {imports})")).unwrap()).unwrap();
    linker(&engine).unwrap().instantiate_pre(&component).unwrap();
}
