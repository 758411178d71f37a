//! `test`: the cases of stages.

use crate::support::{Folder, golden};
use std::fs;

const MANIFEST: &str = "
name: p
topics: {small: {config: {max.message.bytes: 200}}}
stages:
  s:
    module: trial.wasm
    inputs: {first: in, second: other}
    outputs: {main: out, large: small}
    config: {a: '1', b: two}
    limits: {outputs: 3, time: 50ms}
";

fn folder() -> Folder {
    Folder::new().file("millstream.yaml", MANIFEST).trial("trial.wasm")
}

const GOOD: &str = r#"
stage: s
config: {b: file}
cases:
  - name: a record passes, with its headers and its time
    input: {key: k, value: v, headers: [[a, "1"], [b, null]], timestamp: 5}
    output: {key: k, value: v}
  - name: what is inherited may be said
    input: {value: v, headers: [[a, "1"]], timestamp: 5}
    output: {output: main, value: v, headers: [[a, "1"]], timestamp: 5}
  - name: bytes, numbers and tombstones
    inputs: [{value: {base64: /w==}}, {value: 12}, {value: null}, {value: '${HOME} $$'}]
    outputs: [{value: {base64: /w==}}, {value: "12"}, {value: null}, {value: '${HOME} $$'}]
  - name: headers are added and replaced
    inputs: [{value: add, headers: [[h, x]]}, {value: replace, headers: [[h, x]]}]
    outputs:
      - {value: add, headers: [[h, x], [tag, a], [tag, b], [none, null]]}
      - {value: replace, headers: [[only, this]]}
  - name: another output, a partition, a time
    inputs: [{value: to large x}, {value: partition 3}, {value: at 7}]
    outputs: [{output: large, value: x}, {partition: 3, value: partition 3}, {timestamp: 7, value: at 7}]
  - name: one makes many, or none
    inputs: [{value: burst 2 x}, {value: filter}]
    outputs: [{value: x/0}, {value: x/1}]
  - name: where it comes from
    inputs: [{value: origin}, {value: origin, topic: second, partition: 3, offset: 9, timestamp: 5}]
    outputs: [{value: in/first/0@0/none/1}, {value: other/second/3@9/5/1}]
  - name: its configuration, the case's over the file's over the manifest's
    config: {c: {list: [1]}}
    input: {value: config}
    output: {value: 'a=1 b=file c={"list":[1]}'}
  - name: a value may be taken away
    config: {a: null, b: }
    input: {value: config}
    output: {value: ''}
  - name: a record may be at a later attempt
    inputs: [{value: attempts 3, attempt: 2}, {value: attempts 3, attempt: 3}, {value: origin, attempt: 7}]
    outputs: [failure: {kind: retry}, {value: attempts 3}, {value: in/first/0@2/none/7}]
  - name: failures, in the words of the stage
    inputs: [{value: reject}, {value: later}, {value: fault}, {value: panic}, {value: after}]
    outputs:
      - failure: {kind: reject, code: asked, message: asked to reject}
      - failure: {kind: retry, after-ms: 250}
      - failure: {kind: fault, code: asked}
      - failure: {kind: fault}
      - {value: after}
  - name: limits are those of the manifest
    inputs: [{value: many 4}, {value: loop}]
    outputs: [failure: {kind: limit, code: output-limit}, failure: {kind: limit, code: time-limit}]
  - name: so are the topics
    inputs: [{value: to nowhere x}, {value: to large xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}]
    outputs: [failure: {kind: fault, code: unknown-output}, failure: {kind: fault, code: too-large}]
  - name: a stage may refuse to start
    config: {refuse: not like this}
    inputs: [{value: a}, {value: b}]
    failure: {kind: open, message: not like this}
  - name: each case has an instance of its own
    input: {value: calls}
    output: {value: "1"}
"#;

#[test]
fn what_comes_is_what_was_expected() {
    let folder = folder().file("good.test.yaml", GOOD);
    // What its stage has logged aside.
    let said = folder.says("test").without_log();
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.ends_with("15 cases, 0 failed\n"), "{}", said.out);
    let json = folder.says("test good.test.yaml --json");
    assert_eq!((json.code, json.out.lines().count()), (0, 15));
    assert!(json.out.lines().all(|line| line.contains("\"passed\":true")), "{}", json.out);
}

const OTHER: &str = r#"stage: s
cases:
  # Said in one line.
  - {name: flow, input: {value: a}, output: {value: b}}
  - name: more than was expected
    input: {value: burst 2 x}
    outputs: [{value: x/0}]
  - name: less, and something else
    inputs:
      - {key: k, value: reject}
      - {value: "to large <&>"}
    outputs: # none of these
      - {value: a}
      - failure: {kind: limit}
      - {value: b}

  # Behind a gap.
  - name: only the headers differ
    input: {value: replace, headers: [[h, x]]}
    output: {value: replace}
  - name: this one is good
    input: {value: a}
    output: {value: a}
"#;

const SILENT: &str = "stage: s
cases:
  - {name: flow, input: {value: a}}
  - name: block
    inputs: [{value: a}, {value: b}] # two

  # The next one.
  - name: nothing comes
    input: {value: filter}
";

#[test]
fn what_is_different_is_shown_and_can_be_written() {
    let folder = folder().file("other.test.yaml", OTHER).file("deep/er/silent.test.yaml", SILENT);
    let failed = folder.says("test other.test.yaml --junit report.xml");
    let report = fs::read_to_string(folder.path("report.xml")).unwrap();
    assert_eq!(report.matches("<testcase").count(), 5, "{report}");
    assert_eq!(report.matches("<failure").count(), 4, "{report}");
    assert!(report.contains("&lt;&amp;&gt;"), "{report}");
    let updated = folder.says("test --update --manifest millstream.yaml");
    let text = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let good = folder.says("test --manifest millstream.yaml");
    golden("cases", &[failed, updated, good]);
    crate::support::golden_text("cases-updated", &(text("other.test.yaml") + "\n" + &text("deep/er/silent.test.yaml")));
}

const SHARED: &str = r"stage: s
cases:
  - name: a
    input: {value: a}
    output: &o {value: y}
  - name: b
    input: {value: b}
    output: *o
  - name: texts of several lines
    input:
      value: |
        one
        two

  # The next one.
  - &base {name: c, input: {value: c}, output: {value: d}}
  - {<<: *base, name: e, input: {value: e}}
  - <<: *base
    name: f
    input: {value: f}
  - name: the last one
    input:
      value: |-
        three
";

const SHARED_UPDATED: &str = r#"stage: s
cases:
  - name: a
    input: {value: a}
    output: {"value":"a"}
  - name: b
    input: {value: b}
    output: {"value":"b"}
  - name: texts of several lines
    input:
      value: |
        one
        two
    output: {"value":"one\ntwo\n"}

  # The next one.
  - &base {name: c, input: {value: c}, output: {"value":"c"}}
  - {<<: *base, name: e, input: {value: e}, output: {"value":"e"}}
  - <<: *base
    name: f
    input: {value: f}
    output: {"value":"f"}
  - name: the last one
    input:
      value: |-
        three
    output: {"value":"three"}
"#;

#[test]
fn anchors_and_texts_of_several_lines_are_no_harm_to_what_is_written() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = folder().file("kept/shared.test.yaml", SHARED);
    symlink("kept/shared.test.yaml", folder.path("shared.test.yaml")).unwrap();
    fs::set_permissions(folder.path("kept/shared.test.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    let updated = folder.says("test --update shared.test.yaml");
    assert_eq!(updated.code, 0, "{}", updated.shown());
    assert_eq!(fs::read_to_string(folder.path("kept/shared.test.yaml")).unwrap(), SHARED_UPDATED);
    let link = fs::symlink_metadata(folder.path("shared.test.yaml")).unwrap();
    let mode = fs::metadata(folder.path("shared.test.yaml")).unwrap().permissions().mode();
    assert!(link.is_symlink() && mode & 0o777 == 0o640);
    assert_eq!(folder.says("test shared.test.yaml").code, 0);
}

#[test]
fn what_does_not_fit_into_a_file_of_cases_leaves_it_as_it_is() {
    for cases in [
        // The second would have lost its anchor,
        "  - {name: a, input: {value: a}, output: &o {value: x}}\n  - {name: b, input: {value: x}, output: *o}\n",
        // or say two things.
        "  - &a {name: a, input: {value: a}, output: {value: a}}\n  - {<<: *a, name: b, input: {value: filter}}\n",
    ] {
        let text = format!("stage: s\ncases:\n{cases}");
        let folder = folder().file("a.test.yaml", &text);
        let said = folder.says("test --update");
        assert_eq!(said.code, 1, "{}", said.shown());
        assert!(said.err.starts_with("error: a.test.yaml is left as it is: what came does not fit"), "{}", said.err);
        assert_eq!(fs::read_to_string(folder.path("a.test.yaml")).unwrap(), text);
        assert!(!folder.names().iter().any(|name| name.starts_with(".tmp")), "{:?}", folder.names());
    }
}

const WRONG: &str = r#"stage: s
cases:
  - name: a
    imput: {value: x}
    output: {value: y, colour: red}
  - name: b
    input: {key: k}
    output: {value: y}
    failure: {kind: rejct}
  - name: c
    input: {value: x, topic: thr}
    outputs: [{value: y, output: larg}, {key: k}, {failure: {kind: open}, value: x}]
  - name: d
    input: {value: {base64: "!!"}, headers: [[a]], timestamp: soon, attempt: 0}
  - input: {value: x}
    output: {}
  - name: e
"#;

#[test]
fn mistakes_in_cases_are_found_at_once() {
    let folder = folder()
        .file("wrong.test.yaml", WRONG)
        .file("empty.test.yaml", "")
        .file("none.test.yaml", "stage: s\ncases: []\n")
        .file("other-stage.test.yaml", "stage: t\ncases: [{name: a, input: {value: a}, output: {value: a}}]\n")
        .file("away/lonely.test.yaml", "stage: s\ncases: [{name: a, input: {value: a}, output: {value: a}}]\n")
        .file("nothing/here.yaml", "");
    let said = [
        "test wrong.test.yaml",
        "test empty.test.yaml",
        "test none.test.yaml",
        "test other-stage.test.yaml",
        "test away",
        "test nothing",
        "test nowhere",
    ]
    .map(|words| folder.says(words));
    assert!(said.iter().all(|said| said.code == 2 && said.out.is_empty()));
    golden("cases-wrong", &said);
}

#[test]
fn a_module_that_cannot_be_built_tests_nothing() {
    let folder = Folder::new()
        .file("millstream.yaml", "name: p\nstages: {s: {module: s.wasm, build: 'exit 3', input: a, output: b}}\n")
        .file("s.test.yaml", "stage: s\ncases: [{name: a, input: {value: a}, output: {value: a}}]\n");
    let said = folder.says("test --build");
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.err);
    assert!(said.err.contains("the build of s failed"), "{}", said.err);
}

#[test]
fn a_case_says_what_the_manifest_makes_of_a_failure() {
    let manifest = format!("{MANIFEST}    on-error: {{reject: skip, limit: stop, retry: {{then: dead-letter}}}}\n");
    let cases = "stage: s
cases:
  - name: by the manifest
    inputs: [{value: reject}, {value: many 4}, {value: retry}, {value: fault}]
    outputs:
      - failure: {kind: reject, then: skip}
      - failure: {kind: limit, then: stop}
      - failure: {kind: retry, then: dead-letter}
      - failure: {kind: fault, then: dead-letter}
  - name: or not
    input: {value: reject}
    output: {failure: {kind: reject, then: dead-letter}}
";
    let cases = cases
        .replace("output: {failure: {kind: reject, then: dead-letter}}", "failure: {kind: reject, then: dead-letter}");
    let folder = Folder::new().file("millstream.yaml", manifest).trial("trial.wasm").file("s.test.yaml", cases);
    let said = folder.says("test");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("ok       by the manifest") && said.out.contains("FAILED   or not"), "{said:?}");
    assert!(said.out.contains(r#""then":"skip""#), "{said:?}");
}
