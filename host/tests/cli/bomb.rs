//! A module that is made to overwhelm whoever compiles it.

use crate::support::Folder;

/// A stage beside a function of some 300 KiB, whose every local lives through every one of its blocks.
fn bomb() -> String {
    let locals = "i32 ".repeat(2000);
    let block = |n: usize| {
        let [a, b, c] = [n % 2000, n * 7 % 2000, n * 13 % 2000].map(|local| local + 1);
        format!("(block (br_if 0 (local.get 0)) (local.set {c} (i32.add (local.get {a}) (local.get {b}))))")
    };
    let blocks: String = (0..20_000).map(block).collect();
    format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "millstream:stage/transformer@0.1.0#transform") (param i32 i32 i32 i32 i32 i32) (result i32)
                i32.const 1024)
            (func (param i32) (local {locals}) {blocks}))"#
    )
}

#[test]
fn a_compile_bomb_is_refused_within_its_time_and_its_memory() {
    let folder = Folder::with(
        "name: p\ntopics: {i: }\nstages:\n  slow: {module: bomb.wasm, input: i, output: o, limits: {compile-time: 1s}}\n  \
         large: {module: bomb.wasm, input: i, output: o, limits: {compile-memory: 512MiB, compile-time: 1h}}\n",
    )
    .module("bomb.wasm", &bomb());
    for command in ["check", "run"] {
        let said = folder.says(&format!("{command} pipeline.yaml"));
        assert_eq!(said.code, 2, "{}", said.shown());
        for why in ["bomb.wasm takes more than 1s of CPU time to compile", "bomb.wasm needs more than 512MiB of memory"]
        {
            assert!(said.err.contains(why), "{}", said.shown());
        }
    }
}
