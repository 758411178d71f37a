//! Every language as an author meets it: for each of its examples a folder is made outside this repository, built, tested
//! and run, with what `new` prints and what the folder's README says. Packages come from where the language has them
//! from; only what one example has fetched or compiled is there for the next. Then what a pipeline is promised whatever
//! its language is.
#![allow(clippy::unwrap_used)]

use clap::ValueEnum;
use millstream::scaffold::{Example, Language};
use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

const MILLSTREAM: &str = env!("CARGO_BIN_EXE_millstream");

/// Runs a command in a folder with this input; what it printed.
fn says(folder: &Path, words: &str, input: &str) -> String {
    talks(folder, words, input, "info").0
}

/// The same, and what stood on its log, from this level on.
fn talks(folder: &Path, words: &str, input: &str, level: &str) -> (String, String) {
    let since = Instant::now();
    let mut command = xtask::clean_command(MILLSTREAM);
    command.args(words.split_whitespace()).current_dir(folder).env("MILLSTREAM_LOG", level);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that reads nothing may have ended.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("{}: millstream {words}: {:.1} s", folder.display(), since.elapsed().as_secs_f64());
    assert!(output.status.success(), "{}: {words}: {}\n{out}{err}", folder.display(), output.status);
    (out, err)
}

/// What an example prints of a record, or of its own accord.
fn printed(example: Example) -> (&'static str, &'static str, String) {
    match example {
        Example::Upper => ("words", "hello\n", "HELLO\n".into()),
        Example::Strict => ("amounts", "5\n", "5 EUR\n".into()),
        Example::Route => ("web-orders", "99\n", "\"value\":\"99\"".into()),
        Example::Numbers => ("", "", (0..20).map(|number| format!("{number}\n")).collect()),
    }
}

/// Tries out each example; the folder with their projects.
fn try_out(language: Language) -> TempDir {
    let value = language.to_possible_value().unwrap();
    let scene = tempfile::tempdir().unwrap();
    // What stands around a project must not change where its build puts things, or what it knows.
    match language {
        Language::Go => fs::write(scene.path().join("go.work"), "go 1.25\n").unwrap(),
        Language::Rust => {
            fs::create_dir(scene.path().join(".cargo")).unwrap();
            fs::write(scene.path().join(".cargo/config.toml"), "[build]\ntarget-dir = \"elsewhere\"\n").unwrap();
        }
        _ => {}
    }
    // What is fetched or compiled, by its name in the project.
    let shared = match language {
        Language::Rust => Some("target"),
        Language::Python | Language::C => Some(".venv"),
        // Their tools share by themselves.
        Language::Go | Language::Js | Language::Ts => None,
    };
    let mut first: Option<PathBuf> = None;
    let examples: Vec<_> = language.kit().examples().collect();
    assert!(
        examples.contains(&Example::Upper) && examples.contains(&Example::Route) && examples.contains(&Example::Strict)
    );
    for example in examples {
        let name = format!("my-{}", example.word());
        says(scene.path(), &format!("new {name} --lang {} --example {}", value.get_name(), example.word()), "");
        let folder = scene.path().join(&name);
        match (shared, &first) {
            (Some(shared), Some(first)) => symlink(first.join(shared), folder.join(shared)).unwrap(),
            _ => first = Some(folder.clone()),
        }
        says(&folder, "build", "");
        let (topic, record, expected) = printed(example);
        if !example.is_source() {
            let tested = says(&folder, "test", "");
            assert!(tested.ends_with(" 0 failed\n") && !tested.starts_with("0 cases"), "{tested}");
            // It compiles the module for itself, which takes seconds in Python.
            if language != Language::Python || example == Example::Upper {
                is_tried_as_its_readme_says(&folder);
            }
            says(&folder, "run --scratch --until-idle=100ms", "");
            // The first run makes the topics.
            says(&folder, "run --until-idle=100ms", "");
            says(&folder, &format!("produce {topic}"), record);
        }
        let out = says(&folder, "run --until-idle=100ms", "");
        assert!(out.contains(&expected), "{name} prints {out:?}");
        let (_, again) = talks(&folder, "build", "", "info");
        assert_eq!(again, format!("{name} has not changed\n"));
        is_left_alone(&folder, shared);
    }
    scene
}

/// The line of the README that begins with `echo` and ends with `try`.
fn is_tried_as_its_readme_says(folder: &Path) {
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("echo ")?.split_once(" | millstream try "));
    let (sample, rest) = line.unwrap();
    let out = says(folder, &format!("try {rest}"), &format!("{sample}\n"));
    assert!(out.contains(&sample.to_uppercase()), "{rest}: {out}");
}

/// Puts this code in the place of the example's, and has these cases run; what stood on the log meanwhile.
fn with_code(project: &Path, code: (&str, &str), cases: &str) -> String {
    fs::write(project.join(code.0), code.1).unwrap();
    fs::write(project.join("other.test.yaml"), format!("stage: my-upper\ncases:\n{cases}")).unwrap();
    says(project, "build", "");
    talks(project, "test other.test.yaml", "", "info").1
}

/// What was made is ignored by the project's own `.gitignore`, so that a build makes no source of itself, and is not
/// done twice.
fn is_left_alone(folder: &Path, shared: Option<&str>) {
    let git = |words: &[&str]| Command::new("git").args(words).current_dir(folder).output().unwrap().stdout;
    git(&["init", "--quiet"]);
    let seen = String::from_utf8(git(&["status", "--short", "--untracked-files=all"])).unwrap();
    let made = [".wasm", "node_modules", "__pycache__", ".millstream/", ".venv/", "target/"];
    let is_shared = |line: &str| shared.is_some_and(|shared| line.ends_with(shared));
    let foreign: Vec<_> =
        seen.lines().filter(|line| !is_shared(line) && made.iter().any(|made| line.contains(made))).collect();
    assert!(foreign.is_empty(), "{}: {foreign:?}", folder.display());
    fs::remove_dir_all(folder.join(".git")).unwrap();
}

/// What a runtime never gives back, as Python's what a stage gives out, ends with its instance: another takes its place,
/// and no record is the worse for it.
fn is_renewed(project: &Path, records: usize) {
    let manifest = format!(
        "name: renewed-{records}\nstate: state-{records}\ntopics: {{large: {{partitions: 1}}}}\nstages: {{upper: \
         {{module: my-upper.wasm, input: large, output: larger, limits: {{memory: 32MiB}}}}}}\n"
    );
    fs::write(project.join("renewed.yaml"), manifest).unwrap();
    // 40 MB go out, where 32 MiB hold them and all else.
    let bytes = 40_000_000 / records;
    let lines: String = (0..records).map(|number| format!("{number} {}\n", "x".repeat(bytes))).collect();
    says(project, "topics create large --partitions 1 --manifest renewed.yaml", "");
    says(project, "produce large --manifest renewed.yaml", &lines);
    let (_, log) = talks(project, "run renewed.yaml --until-idle=100ms --fail-on-dead-letter", "", "debug");
    let renewals = log.matches("its memory has grown large").count();
    assert!(renewals >= 2, "{renewals} renewals: {log}");
    assert!(!log.contains("memory-limit"), "{log}");
    let out = says(project, "consume larger --manifest renewed.yaml --from-beginning --until-end", "");
    assert!(out == lines.to_uppercase(), "{} records are {} lines", records, out.lines().count());
}

/// A stage goes on in another language: nothing in the manifest changes but its module, and nothing in what comes out.
fn is_replaceable(project: &Path) {
    let scene = tempfile::tempdir().unwrap();
    let (alone, replaced) = (scene.path().join("alone"), scene.path().join("replaced"));
    let rust = xtask::guests::build().unwrap().join("route.wasm");
    let manifest = |module: &Path| {
        format!(
            "name: orders\ntopics: {{web-orders: {{partitions: 1}}}}\nstages:\n  route:\n    module: {}\n    inputs: {{orders: \
             web-orders}}\n    outputs: {{main: accepted, large: accepted-large}}\n    config: {{large: 5000, hold-ms: 0}}\n",
            module.display()
        )
    };
    for (folder, modules) in [(&alone, [&rust, &rust]), (&replaced, [&rust, &project.join("my-route.wasm")])] {
        fs::create_dir(folder).unwrap();
        for (half, module) in modules.into_iter().enumerate() {
            fs::write(folder.join("millstream.yaml"), manifest(module)).unwrap();
            if half == 0 {
                says(folder, "topics create web-orders --partitions 1", "");
            }
            says(folder, "produce web-orders --format json", &orders(half * 500..(half + 1) * 500));
            says(folder, "run --until-idle=100ms", "");
        }
    }
    for words in [
        "consume accepted --from-beginning --until-end --format json",
        "consume accepted-large --from-beginning --until-end --format json",
        "offsets show orders.route --json",
    ] {
        let [expected, out] = [&alone, &replaced].map(|folder| says(folder, words, ""));
        assert!(out == expected && !out.is_empty(), "{words}: {out}\nin place of {expected}");
    }
    let accepted = says(&replaced, "consume accepted --from-beginning --until-end", "");
    assert_eq!(
        accepted.lines().count(),
        1000 - 1000_usize.div_ceil(7) - 1000_usize.div_ceil(11) + 1000_usize.div_ceil(77)
    );
}

/// Orders of all kinds: tests, which go nowhere, are every seventh, and what is no order is every eleventh.
fn orders(numbers: std::ops::Range<usize>) -> String {
    let order = |number: usize| {
        let kind = match number % 70 {
            // One that is put off holds up the others.
            6 => "held",
            number => ["test", "gift", "plain", "", "gift", "\u{fc}", "other"][number % 7],
        };
        let amount = if number.is_multiple_of(11) { "much".to_owned() } else { (number * 10).to_string() };
        let (key, time) = (number % 5, 1_700_000_000_000 + number * 7_000);
        format!(
            "{{\"key\":\"k{key}\",\"value\":\"{amount}\",\"timestamp\":{time},\"headers\":[[\"tag\",null],[\"kind\",\"{kind}\"]]}}\n"
        )
    };
    numbers.map(order).collect()
}

#[test]
fn rust() {
    try_out(Language::Rust);
}

#[test]
fn python() {
    let projects = try_out(Language::Python);
    let upper = projects.path().join("my-upper");
    for records in [4000, 400] {
        is_renewed(&upper, records);
    }
    let cases = "  - {name: a tuple, input: {key: k, value: two}, outputs: [{key: k, value: a}, {value: b}]}
  - {name: a pair, input: {key: k, value: pair}, output: {key: k, value: pair}}
  - {name: nothing, input: {value: none}, outputs: []}
  - {name: printed, input: {value: print, offset: 7}, output: {value: print}}
  - {name: after it, input: {value: pair, offset: 8}, output: {value: pair}}
";
    let log = with_code(&upper, ("stage.py", PYTHON_STAGE), cases);
    for line in [&*"x".repeat(1024), "the rest", "bytes", "one", "two", "no end"] {
        let found =
            log.lines().find(|found| found.contains(&format!(" {line} "))).unwrap_or_else(|| panic!("{line}: {log}"));
        assert!(found.contains("offset=7"), "{found}");
    }
    let cases = "  - {name: forgotten, input: {value: x}, failure: {kind: fault, code: TypeError}}
  - {name: a tombstone, input: {value: null}, output: {value: null}}
";
    with_code(
        &upper,
        ("stage.py", "from millstream import map_value\n\n\n@map_value\ndef forgets(value):\n    pass\n"),
        cases,
    );
}

const PYTHON_STAGE: &str = r#"
import sys
from millstream import record, stage


@stage
def other(key, value):
    if value == b"two":
        return record(key, "a"), record(None, "b")
    if value == b"none":
        return ()
    if value == b"print":
        assert not sys.stdout.isatty() and sys.stdout.encoding == "utf-8"
        print("x" * 1024 + "the rest")
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.writelines(["one\n", "two\n"])
        print("no end", end="")
    return key, value
"#;

#[test]
fn javascript() {
    let projects = try_out(Language::Js);
    let cases = r#"  - {name: none is null, input: {value: null, headers: [[none, null]]}, output: {key: "null", value: "[[\"none\",null]] null null"}}
  - {name: forgotten, input: {value: forgotten}, failure: {kind: fault, code: TypeError}}
  - {name: a forgotten header, input: {value: header}, failure: {kind: fault, code: TypeError}}
  - {name: printed, input: {value: print}, output: {value: print}}
"#;
    let log = with_code(&projects.path().join("my-upper"), ("stage.js", JS_STAGE), cases);
    for line in [
        "[object Object] 1 [object Object] [object] Symbol(s) undefined [1,null]",
        "Assertion failed odd 3",
        "[{\"a\":1}]",
        "{\"b\":2}",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("never"), "{log}");
}

const JS_STAGE: &str = r#"
import { header, headers, log, stage, text } from "millstream";

console.log("never, as this is built");
log("never");
const loop = {};
loop.self = loop;

export default stage((key, value) => {
  if (value === null) return { key: String(key), value: `${JSON.stringify(headers())} ${header("none")} ${header("no")}` };
  switch (text(value)) {
    case "forgotten":
      return { key, value: undefined };
    case "header":
      return { key, value, headers: [["name", undefined]] };
    case "print":
      console.log(loop, 1n, { n: 1n }, Object.create(null, { toJSON: { value() { throw 1; } } }), Symbol("s"), undefined, [1, null]);
      console.assert(1 > 2, "odd", 3);
      console.assert(2 > 1, "never");
      console.table([{ a: 1 }]);
      console.dir({ b: 2 });
  }
  return { key, value };
});
"#;

#[test]
fn typescript() {
    let projects = try_out(Language::Ts);
    let cases = "  - {name: types, input: {value: v, headers: [[kind, k]]}, output: {key: k, value: v}}\n";
    with_code(&projects.path().join("my-upper"), ("stage.ts", TS_STAGE), cases);
}

const TS_STAGE: &str = r#"
import { header, stage } from "millstream";

export default stage((key, value) => {
  console.assert(key === null, "never");
  const kind: Uint8Array | null = header("kind");
  return { key: key ?? kind, value };
});
"#;

#[test]
fn go() {
    let projects = try_out(Language::Go);
    let upper = projects.path().join("my-upper");
    let cases = r#"  - {name: found and named, input: {value: v, headers: [[tag, a], [tag, b]]}, output: {partition: 3, value: v, headers: [[tag, a], [tag, b], ["h\uFFFD", a]]}}
  - {name: no such output, input: {value: to}, failure: {kind: fault, code: unknown-output}}
"#;
    with_code(&upper, ("main.go", GO_STAGE), cases);
    let cases = "  - {name: no tombstone, inputs: [{value: ' '}, {value: ''}, {value: ' a '}], outputs: [{value: ''}, {value: ''}, {value: a}]}
";
    let trim = "package main\n\nimport (\n\t\"bytes\"\n\t\"millstream\"\n)\n\nfunc init() { millstream.MapValue(bytes.TrimSpace) }\n\nfunc main() {}\n";
    with_code(&upper, ("main.go", trim), cases);
}

const GO_STAGE: &str = r#"package main

import "millstream"

func init() { millstream.Transform(other) }

func main() {}

func other(key, value []byte) ([]millstream.Record, error) {
	record := millstream.Record{Key: key, Value: value, Partition: millstream.Partition(3)}
	if string(value) == "to" {
		record.Output = "\xff"
	}
	if _, ok := millstream.Config("\xff"); !ok && millstream.FindHeader("no") == nil {
		record.Headers = []millstream.Header{{Name: "h\xff", Value: millstream.FindHeader("tag")}}
	}
	return []millstream.Record{record}, nil
}
"#;

#[test]
fn c() {
    let projects = try_out(Language::C);
    is_replaceable(&projects.path().join("my-route"));
}
