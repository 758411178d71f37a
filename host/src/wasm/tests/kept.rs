//! Compiled modules are kept, and never trusted for being there.

use crate::wasm::{
    Cache, Engine, Instance, Kind, Module,
    fixture::{One, guest, lines, setup, show},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Compiles `upper` by an engine of its own, as another run would, and sees that it works; gives what was logged.
fn run(folder: &Path) -> Vec<String> {
    let module = Module::load(&guest("upper"), Kind::Stage).unwrap();
    let (compiled, lines) =
        lines(|| Engine::new().unwrap().compile(&module, &Cache::new(folder), &mut |_| {}).unwrap());
    let mut upper = Instance::new(&compiled, setup()).unwrap();
    assert_eq!(show(&One::of("hello").hand_to(&mut upper)), "k=HELLO");
    lines
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "nothing but the compiled module is left");
    file
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_second_run_compiles_nothing() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("state/modules");
    assert_eq!(run(&folder), ["DEBUG compiled upper.wasm"]);
    let written = fs::metadata(only_file(&folder)).unwrap().modified().unwrap();
    assert!(run(&folder).is_empty());
    assert_eq!(fs::metadata(only_file(&folder)).unwrap().modified().unwrap(), written);
    assert_eq!((mode(&folder), mode(&only_file(&folder))), (0o700, 0o600));
}

#[test]
fn a_damaged_file_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let file = only_file(folder.path());
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() / 2], &whole[..7], &flipped, b""] {
        fs::write(&file, damaged).unwrap();
        let said = format!("WARN {} is damaged: the module is compiled again", file.display());
        assert_eq!(run(folder.path()), [said, "DEBUG compiled upper.wasm".into()]);
        assert_eq!(fs::read(&file).unwrap().len(), whole.len());
        assert!(run(folder.path()).is_empty());
    }
}

#[test]
fn what_was_not_used_for_long_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let old = |name: &str, days: u64| {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(24 * days)).unwrap();
    };
    old("unused", 31);
    old("lately", 29);
    run(folder.path());
    assert!(!folder.path().join("unused").exists() && folder.path().join("lately").exists());
}

#[test]
fn a_folder_that_others_may_write_to_is_cleared_and_becomes_private() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    assert!(run(folder.path()).is_empty());
    fs::create_dir(folder.path().join("a-folder")).unwrap();
    for open in [0o777, 0o720, 0o702, 0o711] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(open)).unwrap();
        assert_eq!(run(folder.path()), ["DEBUG compiled upper.wasm"], "what lay there was not believed");
        assert_eq!(mode(folder.path()), 0o700);
    }
    assert!(folder.path().join("a-folder").exists());
}

#[test]
fn a_folder_of_another_user_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    // Only root can give a folder away; whoever is not finds one of root's.
    let folder = match std::os::unix::fs::chown(folder.path(), Some(12345), None) {
        Ok(()) => folder.path(),
        Err(_) => Path::new("/"),
    };
    let lines = run(folder);
    let said = format!("WARN compiled modules cannot be kept in {}, each run compiles anew: ", folder.display());
    let said = [said + "it belongs to another user", "DEBUG compiled upper.wasm".into()];
    assert_eq!(lines, said);
}

#[test]
fn without_a_folder_each_run_compiles_and_says_so_once() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("a-file");
    fs::write(&folder, "").unwrap();
    let lines = run(&folder);
    let said = format!("WARN compiled modules cannot be kept in {}, each run compiles anew: ", folder.display());
    assert!(lines.len() == 2 && lines[0].starts_with(&said), "{lines:?}");
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| run(folder.path()))));
    });
    only_file(folder.path());
}
