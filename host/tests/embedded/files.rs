//! Folders and files that hold no log, or no good one: one line, an exit code, and nothing is made worse.

use crate::{
    command::Running,
    process::guests,
    support::{MILLSTREAM, Pipeline},
};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

const COPY: &str = "
topics: {in: {partitions: 1}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out}
";

/// A pipeline whose log holds some records, all of them in its file.
fn with_records() -> Pipeline {
    let pipeline = Pipeline::new(COPY);
    pipeline.drain();
    let lines: Vec<_> = (0..20_000).map(|number| format!("{number}:the value of {number}")).collect();
    pipeline.produce("in", &lines);
    pipeline.drain();
    // Whoever closes it last brings everything from the -wal into the file.
    let log = rusqlite::Connection::open(pipeline.log()).unwrap();
    log.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    pipeline
}

/// A pipeline whose log is another file.
fn with_file(bytes: impl AsRef<[u8]>) -> Pipeline {
    let pipeline = Pipeline::new(COPY);
    fs::create_dir(pipeline.path(".millstream")).unwrap();
    fs::write(pipeline.log(), bytes).unwrap();
    pipeline
}

/// What a command says in one line, without the time of day; it has failed.
fn refusal(pipeline: &Pipeline, words: &str) -> String {
    refusal_of(&mut pipeline.command(MILLSTREAM, words), words)
}

fn refusal_of(command: &mut Command, words: &str) -> String {
    let said = Running::start(command, words).given("a:b\n");
    assert!(matches!(said.code, 1 | 2), "{said:?}");
    let wrong: Vec<_> = said.err.lines().filter(|line| line.to_lowercase().contains("error")).collect();
    let [line] = wrong[..] else { panic!("not one line: {said:?}") };
    line.to_owned()
}

const COMMANDS: [&str; 5] = [
    "run pipeline.yaml --until-idle=100ms",
    "produce in --key-separator :",
    "consume in -o start --until-end",
    "topics list",
    "offsets show test.copy",
];

/// Every command refuses the log with such words, and leaves its file as it is.
fn refused(pipeline: &Pipeline, words: &str) {
    let before = fs::read(pipeline.log()).unwrap();
    for command in COMMANDS {
        let line = refusal(pipeline, command);
        assert!(line.contains(words), "{command}: {line}");
        assert!(line.contains("log.db"), "{command} does not say which file: {line}");
        assert!(fs::read(pipeline.log()).unwrap() == before, "{command} has changed the file");
    }
}

#[test]
fn a_text_is_left_as_it_is() {
    refused(&with_file("not a log, but somebody's diary\n".repeat(300)), "this is no log of millstream's");
}

#[test]
fn a_file_of_another_application_is_left_as_it_is() {
    let pipeline = with_file("");
    let diary = rusqlite::Connection::open(pipeline.log()).unwrap();
    diary.execute_batch("CREATE TABLE diary (day TEXT); INSERT INTO diary VALUES ('monday')").unwrap();
    drop(diary);
    refused(&pipeline, "this file of SQLite's is no log of millstream's");
}

#[test]
fn a_log_of_a_newer_version_is_left_as_it_is() {
    let pipeline = with_records();
    let newer = rusqlite::Connection::open(pipeline.log()).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    refused(&pipeline, "this log has format 2, and this millstream knows format 1");
}

#[test]
fn a_log_that_was_cut_off_is_left_as_it_is() {
    let pipeline = with_records();
    let whole = fs::read(pipeline.log()).unwrap();
    for part in [whole.len() / 2, whole.len() - 4096] {
        fs::write(pipeline.log(), &whole[..part]).unwrap();
        refused(&pipeline, "put back a copy of it, with its -wal");
    }
    // With the rest, it is whole again.
    fs::write(pipeline.log(), whole).unwrap();
    assert_eq!(pipeline.records("out").len(), 20_000);
}

/// Bytes flip within a record: whoever reads it says where, and the rest of the log is there.
#[test]
fn a_damaged_record_is_told_with_its_place() {
    let pipeline = with_records();
    let mut bytes = fs::read(pipeline.log()).unwrap();
    let places = |number: u32| -> Vec<usize> {
        let text = format!("the value of {number}");
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect()
    };
    // Once in the topic `in`, once in its copy; one that lies across the edge of a page is not found.
    let all = (10_000..10_010).map(places).find(|all| all.len() == 2).expect("a value in one piece");
    all.iter().for_each(|at| bytes[*at] ^= 0x20);
    fs::write(pipeline.log(), &bytes).unwrap();
    for topic in ["in", "out"] {
        let line = refusal(&pipeline, &format!("consume {topic} -o start --until-end"));
        let words = format!("{topic}/0: the records up to offset");
        assert!(line.contains(&words) && line.contains("are damaged (its checksum is wrong)"), "{line}");
    }
    assert!(fs::read(pipeline.log()).unwrap() == bytes, "the file was changed");
    // A stage that is to read it stops there.
    pipeline.says("offsets set test.copy --topic in --to earliest");
    let line = refusal(&pipeline, "run pipeline.yaml --until-idle=100ms");
    assert!(line.contains("copy: ") && line.contains("in/0: the records up to offset"), "{line}");
}

/// A whole page of the file is gone.
#[test]
fn a_log_with_a_hole_is_said_to_be_damaged() {
    let pipeline = with_records();
    let whole = fs::read(pipeline.log()).unwrap();
    // The page that says what tables there are.
    let mut bytes = whole.clone();
    bytes[100..4096].fill(0xa5);
    fs::write(pipeline.log(), &bytes).unwrap();
    for command in COMMANDS {
        let line = refusal(&pipeline, command);
        assert!(line.contains("log.db: the file is damaged"), "{command}: {line}");
    }
    assert!(fs::read(pipeline.log()).unwrap() == bytes, "the file was changed");
    fs::write(pipeline.log(), whole).unwrap();
    assert_eq!(pipeline.records("out").len(), 20_000);
}

#[test]
fn a_folder_where_nothing_can_be_written_is_said() {
    // Not even the superuser makes a folder in one that the kernel shows.
    let folder = PathBuf::from("/proc/self");
    if folder.exists() {
        let pipeline = Pipeline::new(&format!("state: {}/state\n{COPY}", folder.display()));
        for command in COMMANDS {
            let line = refusal(&pipeline, command);
            assert!(line.contains("state cannot be made"), "{command}: {line}");
        }
    }
}

/// The folder and its files cannot be written by who owns them and runs it. The superuser could all the same: they are
/// nobody's then, and so is the host.
#[test]
fn a_log_that_cannot_be_written_is_said() {
    const NOBODY: u32 = 65534;
    let pipeline = with_records();
    // The program and its module, where nobody may come by.
    let program = pipeline.path("millstream");
    fs::hard_link(MILLSTREAM, &program).or_else(|_| fs::copy(MILLSTREAM, &program).map(drop)).unwrap();
    fs::copy(guests().join("trial.wasm"), pipeline.path("trial.wasm")).unwrap();
    pipeline.write(&COPY.replace("{guests}/", ""));
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let state = pipeline.path(".millstream");
    let is_root = fs::metadata(&state).unwrap().uid() == 0;
    if is_root {
        let given = Command::new("chown").args(["-R", &NOBODY.to_string()]).arg(&state).status().unwrap();
        assert!(given.success());
    }
    set(&pipeline.path(""), 0o755);
    let entries = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).for_each(|path| set(&path, 0o444));
    set(&state, 0o555);
    let before = fs::read(pipeline.log()).unwrap();
    let lines = COMMANDS.map(|words| {
        let mut command = pipeline.command(&program, words);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        refusal_of(&mut command, words)
    });
    set(&state, 0o755);
    assert!(lines.iter().all(|line| line.contains("log.db: it cannot be written")), "{lines:?}");
    assert!(fs::read(pipeline.log()).unwrap() == before);
}
