//! What is said about a file that is no stage, to the letter.

use crate::{
    text::grouped,
    wasm::{
        Cache, Engine, Kind, Module,
        fixture::{guest, stage},
    },
};
use std::{fs, path::Path};

/// What is said about a file with these bytes, without its folder.
fn said(bytes: impl AsRef<[u8]>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("price.wasm");
    fs::write(&path, bytes).unwrap();
    said_of(&path, folder.path())
}

fn said_of(path: &Path, folder: &Path) -> String {
    said_as(path, Kind::Stage, folder)
}

fn said_as(path: &Path, kind: Kind, folder: &Path) -> String {
    let compiled = Module::load(path, kind)
        .and_then(|module| Engine::new().unwrap().compile(&module, &Cache::none(), &mut |_| {}));
    let said = compiled.err().map_or_else(|| format!("a {kind}"), |error| error.to_string());
    said.replace(&format!("{}/", folder.display()), "")
}

fn component(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[test]
fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let said = said_of(&folder.path().join("price.wasm"), folder.path());
    assert_eq!(said, "price.wasm is not there: build the module, or correct its path");
}

#[test]
fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("price.wasm")).unwrap();
    let said = said_of(&folder.path().join("price.wasm"), folder.path());
    assert_eq!(said, "price.wasm is a folder: name the .wasm file in it");
}

#[test]
fn an_empty_file() {
    assert_eq!(said(""), "price.wasm is empty: build the module again");
}

#[test]
fn a_text() {
    let text = "price.wasm is text, not a WebAssembly module: name the .wasm file that the build makes";
    assert_eq!(said("millstream::map_value!(|v| v);\n"), text);
    assert_eq!(said("ä".repeat(300) + "b"), text, "the look at its beginning cuts a character in two");
    assert_eq!(said("(component)"), text);
}

#[test]
fn garbage() {
    let garbage = "price.wasm is not a WebAssembly module: name the .wasm file that the build makes";
    assert_eq!(said([0x7f, b'E', b'L', b'F', 0, 1, 2]), garbage);
    assert_eq!(said([0, 1, 2]), garbage);
}

#[test]
fn a_file_that_is_cut_off() {
    let whole = fs::read(guest("upper")).unwrap();
    assert_eq!(
        said(&whole[..3]),
        "price.wasm is damaged or cut off (unexpected end-of-file at byte 0): build the module again"
    );
    for end in [9, 100, whole.len() / 2, whole.len() - 1] {
        let said = said(&whole[..end]);
        assert!(said.starts_with("price.wasm is damaged or cut off ("), "cut at {end}: {said}");
    }
}

#[test]
fn a_file_of_another_format() {
    let said = said(b"\0asm\x07\0\0\0");
    assert!(said.starts_with("price.wasm is damaged or cut off (unknown binary version"), "{said}");
}

#[test]
fn a_body_that_is_not_valid() {
    let said = said(stage(r#"(module (func (result i32)))"#));
    assert!(said.starts_with("price.wasm is not valid WebAssembly ("), "{said}");
    assert!(!said.contains('\n'), "{said}");
}

#[test]
fn a_core_module_that_nobody_marked() {
    assert_eq!(
        said(component("(module)")),
        "price.wasm is a core module without a component's type: build it with an SDK of Millstream, or make a \
         component of it"
    );
}

#[test]
fn a_core_module_whose_names_say_what_it_is() {
    let exporting = |names: &[&str]| {
        let exports = names.iter().map(|name| format!(r#"(export "{name}" (func $same))"#)).collect::<String>();
        let realloc = r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16)"#;
        let same = match names.iter().any(|name| name.ends_with("#poll")) {
            true => "(func $same (param i32 i32 i32) (result i32) i32.const 0)",
            false => "(func $same (param i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)",
        };
        let open = r#"(func (export "millstream:stage/lifecycle@0.1.0#open") (result i32) i32.const 0)"#;
        component(&format!(r#"(module (memory (export "memory") 1) {realloc} {same} {exports} {open})"#))
    };
    let transform = "millstream:stage/transformer@0.1.0#transform";
    assert_eq!(said(exporting(&[transform])), "a stage");
    assert_eq!(
        said(exporting(&["millstream:stage/poller@0.1.0#poll"])),
        "price.wasm is a source, not a stage: it stands under `sources:`, or a module that exports \
         millstream:stage/transformer takes its place"
    );
    assert_eq!(
        said(exporting(&["millstream:stage/transformer@0.2.0#transform"])),
        "price.wasm needs a newer millstream: it is made for millstream:stage@0.2.0, and this one knows 0.1.0; run it \
         with one that knows 0.2.0, or build it with an older SDK"
    );
    let odd = said(component(&format!(r#"(module (func (export "{transform}")))"#)));
    assert!(odd.starts_with("price.wasm is not valid WebAssembly (") && odd.contains("transform"), "{odd}");
}

#[test]
fn imports_that_nothing_allows_are_all_named() {
    assert_eq!(
        said(component(
            r#"(component
                (import "wasi:cli/environment@0.2.6" (instance))
                (import "wasi:cli/environment@0.3.0" (instance))
                (import "millstream:stage/log@0.1.3" (instance))
                (import "millstream:stage/state@0.1.0" (instance))
                (import "wasi:http/incoming-handler@0.2.6" (instance)))"#
        )),
        "price.wasm imports millstream:stage/state@0.1.0, wasi:cli/environment@0.3.0 and \
         wasi:http/incoming-handler@0.2.6, which nothing allows: build it without, as Rust does for \
         wasm32-unknown-unknown"
    );
    assert_eq!(
        said(stage(r#"(module (import "wasi_unstable" "fd_write" (func)))"#)),
        "price.wasm imports wasi_unstable, which nothing allows: build it without, as Rust does for \
         wasm32-unknown-unknown"
    );
}

#[test]
fn a_component_of_another_world() {
    let exports = |names: &[&str]| {
        let exports = names.iter().map(|name| format!(r#"(export "{name}" (instance $i))"#)).collect::<String>();
        said(component(&format!("(component (instance $i) {exports})")))
    };
    assert_eq!(
        exports(&["wasi:cli/run@0.2.6"]),
        "price.wasm is not a stage: it exports wasi:cli/run@0.2.6, where millstream:stage/transformer@0.1.0 is needed"
    );
    assert_eq!(
        exports(&[]),
        "price.wasm is not a stage: it exports nothing, where millstream:stage/transformer@0.1.0 is needed"
    );
    assert_eq!(
        exports(&["millstream:stage/poller@0.1.0"]),
        "price.wasm is a source, not a stage: it stands under `sources:`, or a module that exports \
         millstream:stage/transformer takes its place"
    );
    assert_eq!(
        exports(&["millstream:stage/transformer@0.2.0"]),
        "price.wasm needs a newer millstream: it is made for millstream:stage@0.2.0, and this one knows 0.1.0; run it \
         with one that knows 0.2.0, or build it with an older SDK"
    );
    assert_eq!(
        exports(&["millstream:stage/transformer@0.0.9"]),
        "price.wasm is made for millstream:stage@0.0.9, and this version runs 0.1.0: build it with an SDK of this \
         version"
    );
    let unfit = exports(&["millstream:stage/transformer@0.1.0"]);
    assert!(unfit.starts_with("price.wasm does not fit millstream:stage@0.1.0 ("), "{unfit}");
    assert!(unfit.contains("transform"), "{unfit}");
}

#[test]
fn a_module_that_asks_for_what_only_a_later_host_has() {
    let newer = |version: &str| {
        format!(
            "price.wasm needs a newer millstream: it is made for millstream:stage@{version}, and this one knows 0.1.0; \
             run it with one that knows {version}, or build it with an older SDK"
        )
    };
    let stage = |imports: &str| {
        said(component(&format!(
            r#"(component {imports} (instance $i) (export "millstream:stage/transformer@0.1.2" (instance $i)))"#
        )))
    };
    let function = r#"(import "millstream:stage/log@0.1.7" (instance (export "flush" (func))))"#;
    assert_eq!(stage(function), newer("0.1.7"), "a function");
    assert_eq!(stage(r#"(import "millstream:stage/state@0.1.9" (instance))"#), newer("0.1.9"), "an interface");
}

#[test]
fn a_stage_is_a_stage() {
    let module = Module::load(&guest("trial"), Kind::Stage).unwrap();
    assert_eq!(module.name(), "trial.wasm");
    assert_eq!(module.digest().len(), 64);
    let exports = ["millstream:stage/lifecycle@0.1.0", "millstream:stage/transformer@0.1.0"];
    assert_eq!(module.exports(), exports);
    assert!(module.imports().contains(&"millstream:stage/log@0.1.0".into()), "{:?}", module.imports());
}

#[test]
fn a_file_is_as_large_as_it_may_be() {
    let path = guest("upper");
    let size = fs::metadata(&path).unwrap().len();
    assert!(Module::load_within(size, &path, Kind::Stage).is_ok());
    let error = Module::load_within(size - 1, &path, Kind::Stage).unwrap_err().to_string();
    let bound = format!("upper.wasm has more than {} bytes, the most that it may have: ", grouped(size - 1));
    assert!(error.contains(&bound) && error.ends_with("or `limits: {module-size: …}` gives it more"), "{error}");
}

#[test]
fn a_source_is_a_source() {
    let numbers = guest("numbers");
    let said = |guest: &Path, kind| said_as(guest, kind, guest.parent().unwrap());
    assert_eq!(said(&numbers, Kind::Source), "a source");
    assert_eq!(
        said(&numbers, Kind::Stage),
        "numbers.wasm is a source, not a stage: it stands under `sources:`, or a module that exports \
         millstream:stage/transformer takes its place"
    );
    assert_eq!(
        said(&guest("upper"), Kind::Source),
        "upper.wasm is a stage, not a source: it stands under `stages:`, or a module that exports \
         millstream:stage/poller takes its place"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("price.wasm");
    let exports = |names: &str| {
        fs::write(&path, component(&format!("(component (instance $i) {names})"))).unwrap();
        said_as(&path, Kind::Source, folder.path())
    };
    assert_eq!(
        exports(""),
        "price.wasm is not a source: it exports nothing, where millstream:stage/poller@0.1.0 is needed"
    );
    let poller = r#"(export "millstream:stage/poller@0.1.0" (instance $i))"#;
    assert_eq!(
        exports(&format!(r#"(import "millstream:stage/context@0.1.0" (instance)) {poller}"#)),
        "price.wasm imports millstream:stage/context@0.1.0, which nothing allows: build it without, as Rust does for \
         wasm32-unknown-unknown"
    );
    assert!(exports(poller).starts_with("price.wasm does not fit millstream:stage@0.1.0 ("), "{}", exports(poller));
}
