//! `new`: what it lays out, and what it refuses.

use crate::support::{Folder, golden, golden_text};
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

/// What stands below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// A program that says this of its version.
fn tool(folder: Folder, name: &str, says: &str) -> Folder {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder.file(&format!("bin/{name}"), format!("#!/bin/sh\n{says}\n"));
    fs::set_permissions(folder.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
    let bin = folder.path("bin").to_str().unwrap().to_owned();
    folder.set("PATH", &bin)
}

#[test]
fn a_project_is_laid_out_built_tested_and_tried() {
    let folder = Folder::new();
    let said = folder.says("new hot-air --lang rust");
    let laid = files(&folder.path("hot-air"));
    // What a build makes of others' crates is kept for the next time.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-rust");
    fs::create_dir_all(&kept).unwrap();
    // As cargo marks one that it makes itself.
    fs::write(kept.join("CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    symlink(kept, folder.path("hot-air/target")).unwrap();
    let run = |words: &str, input: &str| {
        let words: Vec<_> = words.split_whitespace().collect();
        let mut command = folder.command(&words);
        command.current_dir(folder.path("hot-air"));
        crate::command::Running::start(&mut command, &words.join(" ")).given(input)
    };
    let build = run("build", "");
    let module = "target/wasm32-unknown-unknown/release/hot_air.wasm";
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--offline", "--release", "--target", "wasm32-unknown-unknown"]);
    cargo.current_dir(folder.path("hot-air")).env_remove("CARGO_TARGET_DIR");
    assert!(cargo.status().unwrap().success(), "the lock is not as cargo would write it");
    let rest =
        [("test", ""), (&*format!("try {module}"), "hello\n"), ("build", "")].map(|(words, input)| run(words, input));
    let all: Vec<_> = [said, build].into_iter().chain(rest).collect();
    golden("new", &all);
    golden_text("new-files", &(laid.join("\n") + "\n"));
    let readme = fs::read_to_string(folder.path("hot-air/README.md")).unwrap();
    golden_text("new-readme", &readme);
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let folder = tool(Folder::new(), "rustc", "echo rustc 9.9.9").file("full/a", "x").file("file", "x");
    let folder = tool(folder, "cargo", "echo cargo 9.9.9");
    let before = folder.names();
    let said = [
        "new",
        "new a",
        "new a --lang cobol",
        "new a --lang rsut",
        "new a --lang rust --example uper",
        "new a.b --lang rust",
        "new 1a --lang rust",
        "new .. --lang rust",
        "new show --lang rust",
        "new full --lang rust",
        "new file --lang rust",
        "new none/a --lang rust",
        "new file/a --lang rust",
    ]
    .map(|words| folder.says(words));
    assert!(said.iter().all(|said| said.code == 2 && said.out.is_empty()));
    assert_eq!(folder.names(), before);
    golden("new-refused", &said);
    assert_eq!(fs::read_to_string(folder.path("full/a")).unwrap(), "x");
}

#[test]
fn a_toolchain_that_is_missing_or_old_is_named() {
    let old = tool(Folder::new(), "rustc", "echo rustc 1.70.0");
    let failing = tool(tool(Folder::new(), "rustc", "echo rustc 9.9.9"), "cargo", "exit 1");
    let none = Folder::new().set("PATH", "");
    let folders = [&old, &failing, &none];
    let said = folders.map(|folder| folder.says("new a --lang rust"));
    assert!(folders.iter().all(|folder| !folder.path("a").exists()) && said.iter().all(|said| said.code == 2));
    golden("new-tools", &said);
}

#[test]
fn an_empty_folder_is_filled_and_has_the_rights_of_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tool(tool(Folder::new(), "rustc", "echo rustc 9.9.9"), "cargo", "true");
    for name in ["made", "plain"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode();
    for name in ["made", "fresh", "made/../other", "./third"] {
        let said = folder.says(&format!("new {name} --lang rust --example numbers"));
        assert_eq!((said.code, mode(name)), (0, mode("plain")), "{name}: {}", said.err);
        assert!(folder.path(name).join("millstream.yaml").exists());
    }
}
