//! What comes from the environment or a file is never shown.

use crate::support::{Folder, closed_port};

const ENVIRONMENT: &str = "swordfish-1";
const FILE: &str = "swordfish-2";
const WRITTEN: &str = "swordfish-3";
const NUMBER: &str = "98765432100";

fn manifest(properties: &str, stage: &str) -> Folder {
    Folder::with(&format!(
        "name: x\nkafka:\n  brokers: localhost:1\n  properties: {properties}\ntopics: {{i: }}\nstages:\n  a: {{module: trial.wasm, input: i, output: o, {stage}}}\n"
    ))
    .trial("trial.wasm")
    .file("secret", FILE)
    .set("SECRET", ENVIRONMENT)
    .set("NUMBER", NUMBER)
}

/// Whatever is asked of this manifest.
fn said(properties: &str, stage: &str) -> String {
    let (folder, port) = (manifest(properties, stage), closed_port());
    // `run` is left out where it would run: it waits for its broker.
    let checked = folder.says(&format!("check pipeline.yaml --online --kafka {port}"));
    let run = (checked.code == 2).then(|| folder.says("run pipeline.yaml").shown());
    checked.shown()
        + &folder.says(&format!("topics list --manifest pipeline.yaml --kafka {port}")).shown()
        + &run.unwrap_or_default()
}

#[test]
fn a_secret_is_not_shown_whoever_refuses_it() {
    for (properties, stage) in [
        // The library refuses the value.
        ("{security.protocol: '${SECRET}', linger.ms: '${NUMBER}'}", ""),
        ("{security.protocol: {file: secret}, linger.ms: 'x${SECRET}'}", ""),
        ("{no.such.property: '${SECRET}', socket.timeout.ms: {file: secret}}", ""),
        ("{}", "properties: {linger.ms: '${NUMBER}', compression.type: '${SECRET}', acks: {file: secret}}"),
        // It refuses them together.
        ("{security.protocol: SASL_PLAINTEXT, sasl.mechanism: '${SECRET}'}", ""),
        ("{security.protocol: SASL_PLAINTEXT, sasl.mechanism: {file: secret}}", ""),
        ("{security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.password: swordfish-3}", ""),
        ("{security.protocol: SSL, ssl.ca.location: 'no/${SECRET}', ssl.key.password: swordfish-3}", ""),
        ("{}", "properties: {security.protocol: SASL_SSL, sasl.mechanism: '${SECRET}'}"),
        // The manifest is wrong beside it.
        ("{sasl.password: '${SECRET}', group.id: '${SECRET}'}", "from: '${SECRET}', workers: '${NUMBER}'"),
        ("{sasl.password: swordfish-3, group.id: x}", ""),
        // The module says it.
        ("{}", "config: {refuse: '${SECRET}'}"),
        ("{}", "config: {refuse: ['${SECRET}', x]}"),
        // Nothing is wrong but the broker.
        (
            "{security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: '${SECRET}', sasl.password: {file: secret}}",
            "",
        ),
    ] {
        let said = said(properties, stage);
        for secret in [ENVIRONMENT, FILE, WRITTEN, NUMBER, "9876", "e+10"] {
            assert!(!said.contains(secret), "{secret} of {properties} {stage}:\n{said}");
        }
    }
}

#[test]
fn what_stands_in_the_manifest_is_shown() {
    let said = said("{security.protocol: magic}", "config: {refuse: no currency}");
    assert!(said.contains(r#"Invalid value "magic""#) && said.contains("trial.wasm refused: no currency"), "{said}");
}

/// Modules are built and tested where there is neither a Kafka nor a way in.
#[test]
fn whoever_connects_to_nothing_needs_no_secrets() {
    let folder = Folder::new()
        .file(
            "millstream.yaml",
            "name: x\nkafka: {brokers: '${BROKERS}', properties: {sasl.password: '${PASSWORD:?the way in}', ssl.ca.location: \
             {file: no.pem}}}\nstages:\n  s: {module: a.wasm, build: cp trial.wasm a.wasm, input: i, output: o, properties: \
             {sasl.username: '${USER_NAME}'}}\n",
        )
        .trial("trial.wasm")
        .file("s.test.yaml", "stage: s\ncases: [{name: a, input: {value: a}, output: {value: a}}]\n");
    let (checked, built, tested) = (folder.says("check"), folder.says("build"), folder.says("test"));
    assert!(checked.code == 2 && checked.err.contains("5 mistakes and"), "{}", checked.err);
    assert_eq!((built.code, tested.code), (0, 0), "{}{}", built.err, tested.shown());
    let folder = folder.file("s.test.yaml", "stage: s\nconfig: {a: '${NO}'}\ncases: []\n");
    assert_eq!(folder.says("test").code, 2, "what is wrong otherwise is wrong");
}

#[test]
fn cases_do_not_tell_a_secret_with_which_a_stage_refuses_to_start() {
    let folder = Folder::new()
        .file(
            "millstream.yaml",
            "name: x\nstages: {s: {module: trial.wasm, input: i, output: o, config: {a: '${SECRET}'}}}\n",
        )
        .trial("trial.wasm")
        .set("SECRET", ENVIRONMENT)
        .file(
            "s.test.yaml",
            format!("stage: s\ncases: [{{name: a, config: {{refuse: not {ENVIRONMENT}}}, input: {{value: a}}}}]\n"),
        );
    let updated = folder.says("test --update");
    assert!(updated.out.contains("not …") && !updated.out.contains(ENVIRONMENT), "{}", updated.shown());
}

#[test]
fn properties_of_sources_and_sinks_are_looked_at_too() {
    let said = Folder::with(
        "name: x\nkafka: {brokers: localhost:1}\nsources:\n  s: {module: trial.wasm, output: i, properties: {compression.type: '${SECRET}'}}\nsinks:\n  k: {input: i, stdout: {}, properties: {fetch.min.bytes: '${NUMBER}'}}\n",
    )
    .trial("trial.wasm")
    .set("SECRET", ENVIRONMENT)
    .set("NUMBER", NUMBER)
    .says("check pipeline.yaml");
    assert_eq!(said.code, 2, "{}", said.shown());
    for words in ["value of `compression.type`", "value of `fetch.min.bytes`"] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert!(!said.err.contains(ENVIRONMENT) && !said.err.contains(NUMBER), "{}", said.err);
}
