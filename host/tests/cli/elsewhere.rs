//! What lies in `compose/` for other machines, as far as this host and this repository have a word in it.

use crate::support::{Folder, repository};
use std::{collections::BTreeSet, fs};

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// What stands between two words, the first time.
fn between<'a>(text: &'a str, before: &str, behind: &str) -> &'a str {
    text.split_once(before).unwrap_or_else(|| panic!("{before}")).1.split(behind).next().unwrap()
}

#[test]
fn its_pipeline_does_what_its_cases_say() {
    let here = |words: &[&str]| Folder::new().command(words).current_dir(repository("")).output().unwrap();
    let built = here(&["build", "compose/pipeline/millstream.yaml"]);
    assert!(built.status.success(), "{built:?}");
    let said = here(&["test", "compose/pipeline"]);
    let out = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success() && out.ends_with("\n5 cases, 0 failed\n"), "{out}{:?}", said.stderr);
    let modules = repository("compose/pipeline").canonicalize().unwrap();
    // As a pod finds it, with its secret.
    let pods = text("compose/kubernetes/millstream.yaml");
    let manifest: String = between(&pods, "  millstream.yaml: |\n", "---")
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let manifest = manifest
        .replace("/pipeline/", &format!("{}/", modules.display()))
        .replace("/run/secrets/millstream/", "")
        .replace("kafka-bootstrap.kafka:9092", "localhost:1");
    let folder = Folder::with(&manifest).file("kafka-password", "swordfish\n");
    let state = folder.path("state");
    let folder = folder.set("STATE_DIRECTORY", state.to_str().unwrap());
    for said in [
        folder.says("check pipeline.yaml"),
        Folder::new().says(&format!("check {} --kafka localhost:1", modules.join("millstream.yaml").display())),
    ] {
        assert!(said.code == 0 && said.out.contains(", no mistakes\n"), "{said:?}");
    }
    // The parts of which compose/stages.yaml makes containers, and which Prometheus looks for.
    let stages = text("compose/stages.yaml");
    let parts: BTreeSet<_> = stages.split("--only, ").skip(1).map(|rest| rest.split(']').next().unwrap()).collect();
    let checked = folder.command(&["check"]).current_dir(&modules).arg("--kafka").arg("localhost:1").output().unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    let known = checked.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": ")).map(|(name, _)| name);
    let known: BTreeSet<_> = known.filter(|name| !name.starts_with(' ')).collect();
    assert_eq!(parts, known, "{checked}");
    let looked_for = text("compose/prometheus/prometheus.yml");
    let looked_for: BTreeSet<_> = between(&looked_for, "names: [", "]").split(", ").collect();
    let started: BTreeSet<_> = known.into_iter().chain(["host"]).collect();
    assert_eq!(looked_for, started);
}

#[test]
fn versions_are_those_that_are_tested() {
    let toolchain = text("rust-toolchain.toml");
    let rust = between(&toolchain, "channel = \"", "\"");
    let dockerfile = text("compose/Dockerfile");
    assert!(dockerfile.contains(&format!("FROM rust:{rust}-bookworm AS rust\n")), "{rust}");
    assert!(dockerfile.contains(&format!("ENV RUSTUP_TOOLCHAIN={rust}\n")), "{rust}");
    let pom = text("xtask/kafka/pom.xml");
    let kafka = between(&pom, "<kafka.version>", "<");
    assert!(text("compose/kafka.yaml").contains(&format!("image: apache/kafka:{kafka}\n")), "{kafka}");
    let pods = text("compose/kubernetes/millstream.yaml");
    assert!(pods.contains(&format!("/millstream-example:{}\n", env!("CARGO_PKG_VERSION"))));
}
