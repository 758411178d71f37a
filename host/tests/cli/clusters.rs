//! `clusters`, and what commands make of the names.

use crate::{
    command::done,
    support::{Folder, closed_port, golden},
};
use std::{fs, os::unix::fs::PermissionsExt};

const SECRET: &str = "swordfish";

#[test]
fn clusters_are_added_shown_and_forgotten() {
    let folder = Folder::new();
    let mut said = Vec::new();
    for words in [
        "clusters list",
        "clusters show",
        "clusters add dev --brokers 127.0.0.1:1",
        "clusters add dev --brokers 127.0.0.1:1",
        "clusters add dev --brokers 127.0.0.1:1,127.0.0.1:2 --replace --use",
        "clusters add prod --brokers kafka-1:9093 --property security.protocol=SASL_SSL --property sasl.mechanism=PLAIN \
         --property sasl.username=orders --secret sasl.password=env:KAFKA_PASSWORD",
        "clusters list",
        "clusters list --json",
        "clusters show prod",
        "clusters show prod --json",
        "clusters show prod --online",
        "clusters use pord",
        "clusters use prod --json",
        "clusters list",
        "clusters remove prod",
        "clusters remove prod --yes",
        "clusters remove prod --yes",
        "clusters list",
        "topics list",
        "topics list --cluster nothing-like-it",
        // What is asked wrongly.
        "clusters add my/prod --brokers a:1",
        "clusters add x --brokers a:b",
        "clusters add x",
        "clusters add x --brokers a:1 --property sasl.password=swordfish",
        "clusters add x --brokers a:1 --property group.id=x",
        "clusters add x --brokers a:1 --property no.such.thing=x",
        "clusters add x --brokers a:1 --property linger.ms=soon",
        "clusters add x --brokers a:1 --property linger.ms=5 --property linger.ms=6",
        "clusters add x --brokers a:1 --property security.protocol=SASL_SSL --property sasl.mechanism=OAUTHBEARER",
        "clusters add x --brokers a:1 --property sasl.oauthbearer.method=oidc",
        "clusters add x --brokers a:1 --property security.protocol=SASL_SSL --property sasl.mechanism=GSSAPI",
        "clusters add x --brokers a:1 --secret sasl.password=swordfish",
        "clusters add x --brokers a:1 --secret sasl.password=env:",
        "clusters add x --brokers a:1 --secret sasl.password=stdin",
        "clusters add x --brokers a:1 --secret sasl.password=stdin --secret ssl.key.password=stdin",
    ] {
        said.push(folder.says(words));
    }
    assert!(said.iter().all(|said| !said.err.contains(SECRET) && !said.out.contains(SECRET)));
    golden("clusters", &said);
}

#[test]
fn a_secret_is_fetched_when_it_is_needed_and_never_shown() {
    let (folder, port) = (Folder::new().set("KAFKA_PASSWORD", SECRET).file("secret", SECRET), closed_port());
    let open = format!("--brokers {port} --property security.protocol=SASL_PLAINTEXT --property sasl.mechanism=PLAIN");
    for (name, from) in
        [("env", "env:KAFKA_PASSWORD"), ("file", "file:secret"), ("stdin", "stdin"), ("command", "command:cat<secret")]
    {
        let add = format!("clusters add {name} {open} --property sasl.username=u --secret sasl.password={from}");
        done(folder.given(format!("{SECRET}\n"), &add));
        let shown = folder.says(&format!("clusters show {name} --online"));
        assert!(shown.code == 1 && shown.err.contains("Connection refused"), "{}", shown.shown());
        let listed = folder.says(&format!("topics list --cluster {name}"));
        assert!(listed.code == 1 && listed.err.contains("Connection refused"), "{}", listed.shown());
        for said in [shown, listed] {
            assert!(!said.shown().contains(SECRET), "{}", said.shown());
        }
    }
    let path = folder.path("config/millstream/clusters.yaml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().matches(SECRET).count(), 1, "the one that was piped in");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = folder.says("topics list --cluster stdin");
    assert!(said.err.contains("others may read it: `chmod 600"), "{}", said.shown());
    assert!(!folder.says("topics list --cluster env").err.contains("chmod"));
    // Each way in which there is none.
    fs::remove_file(folder.path("secret")).unwrap();
    let folder = folder.set("KAFKA_PASSWORD", "");
    for (name, told) in [
        ("file", "cluster file: sasl.password: the file "),
        ("command", "cluster command: sasl.password: the command `cat<secret` fails (exit status: "),
    ] {
        let said = folder.says(&format!("topics list --cluster {name}"));
        assert_eq!((said.code, said.err.lines().count()), (2, 1), "{}", said.shown());
        assert!(said.err.contains(told), "{}", said.shown());
    }
}

#[test]
fn what_is_wrong_in_the_file_is_shown_with_its_place() {
    let text = format!(
        "current: dev\nclusters:\n  prod:\n    borkers: a:1\n    properties: {{sasl.password: {{evn: {SECRET}}}, ssl.key.password: {SECRET}}}\n"
    );
    let folder = Folder::new().file("config/millstream/clusters.yaml", text);
    let said = folder.says("topics list --cluster prod");
    assert_eq!(said.code, 2, "{}", said.shown());
    for words in
        ["borkers", "did you mean `brokers`?", "config/millstream/clusters.yaml:4", "there is no cluster `dev`"]
    {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.err.contains(SECRET), "{}", said.err);
    // Who names another log has no use for it.
    let port = closed_port();
    assert!(folder.says(&format!("topics list --kafka {port}")).err.contains("Connection refused"));
}

#[test]
fn a_cluster_stands_over_the_manifest_s_and_what_lets_into_that_one_stays_away() {
    let (there, here) = (closed_port(), closed_port());
    let manifest = format!(
        "name: x\nkafka:\n  brokers: {there}\n  properties: {{security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: u,\n    \
         sasl.password: '${{NOT_SET}}', ssl.ca.location: nowhere.pem, linger.ms: 7}}\ntopics: {{i: }}\nstages:\n  \
         a: {{module: trial.wasm, input: i, output: o, properties: {{sasl.password: '${{NOT_SET}}', linger.ms: '${{LINGER}}'}}}}\n"
    );
    let folder = Folder::with(&manifest).trial("trial.wasm").set("LINGER", "9");
    done(folder.says(&format!("clusters add here --brokers {here} --property linger.ms=8")));
    let without = folder.says("check pipeline.yaml");
    assert!(without.code == 2 && without.err.contains("NOT_SET"), "{}", without.shown());
    let with = folder.says("check pipeline.yaml --cluster here --online");
    assert_eq!((with.code, with.err.lines().count()), (1, 1), "{}", with.shown());
    assert!(with.err.contains(&here) && with.err.contains("Connection refused"), "{}", with.shown());
    let list = folder.says("topics list --manifest pipeline.yaml --cluster here");
    assert!(list.err.contains(&here) && list.code == 1, "{}", list.shown());
    // What has nothing to do with the way in is asked for as before.
    let folder = folder.set("LINGER", "soon");
    let wrong = folder.says("check pipeline.yaml --cluster here");
    assert!(wrong.code == 2 && wrong.err.contains("linger.ms"), "{}", wrong.shown());
}

#[test]
fn which_log_is_meant_is_said_by_what_is_named_first() {
    let [typed, current, other] = [closed_port(), closed_port(), closed_port()];
    let folder = Folder::new();
    done(folder.says(&format!("clusters add now --brokers {current} --use")));
    done(folder.says(&format!("clusters add other --brokers {other}")));
    let by_itself = folder.says("topics list");
    assert_eq!(
        by_itself.err.lines().next().unwrap(),
        format!("on cluster now, as `clusters use` says: Kafka at {current}")
    );
    assert!(by_itself.err.lines().count() == 2 && by_itself.code == 1);
    let one = |folder: &Folder, words: &str, at: &str| {
        let said = folder.says(words);
        assert_eq!((said.code, said.err.lines().count()), (1, 1), "{}", said.shown());
        assert!(said.err.contains(at), "{}", said.shown());
    };
    one(&folder, &format!("topics list --kafka {typed}"), &typed);
    one(&folder, "topics list --cluster other", &other);
    let said = folder.says(&format!("topics list --cluster other --kafka {typed}"));
    assert!(said.code == 2 && said.err.contains("leave one of them out"), "{}", said.shown());
    // What is typed stands over the environment.
    let folder = folder.set("MILLSTREAM_KAFKA", &typed);
    one(&folder, "topics list --cluster other", &other);
    one(&folder, "topics list", &typed);
    let folder = folder.set("MILLSTREAM_KAFKA", "").set("MILLSTREAM_CLUSTER", "other");
    one(&folder, "topics list", &other);
    one(&folder, &format!("topics list --kafka={typed}"), &typed);
    // A manifest that lies here is nearer than the current cluster.
    let manifest =
        format!("name: x\nkafka: {{brokers: \"{typed}\"}}\nstages: {{a: {{module: a.wasm, input: i, output: o}}}}\n");
    let folder = folder.set("MILLSTREAM_CLUSTER", "").file("millstream.yaml", manifest);
    one(&folder, "topics list", &typed);
    one(&folder, "topics list --cluster other", &other);
    let said = folder.says("run --scratch --cluster other");
    assert!(said.code == 2 && said.err.contains("--scratch"), "{}", said.shown());
}

const OWNER: &str = "\
name: shop
topics: {orders: {partitions: 2, config: {retention.ms: 1000}}}
sources: {numbers: {module: n.wasm, output: numbers}}
stages:
  price: {module: trial.wasm, inputs: [orders, raw], output: priced}
sinks: {show: {input: priced, stdout: {}}}
";

#[test]
fn resources_of_an_embedded_log_are_shown_and_removed() {
    let folder = Folder::with(OWNER).set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    let mut said = vec![folder.says("resources pipeline.yaml"), folder.says("resources pipeline.yaml --delete")];
    for topic in ["orders", "raw", "priced", "shop.numbers.position", "another"] {
        done(folder.says(&format!("topics create {topic}")));
    }
    done(folder.given("a\n", "produce raw"));
    done(folder.says("consume raw --group shop.price -o start -n 1"));
    done(folder.says("consume raw --group another -o start -n 1"));
    for words in [
        "resources pipeline.yaml",
        "resources pipeline.yaml --json",
        "resources pipeline.yaml --delete",
        "resources pipeline.yaml --yes",
        "resources pipeline.yaml --delete --yes",
        "resources pipeline.yaml --delete --yes --json",
        "topics list",
        "offsets show shop.price",
        "offsets show another",
    ] {
        said.push(folder.says(words));
    }
    golden("resources", &said);
}

#[test]
fn rights_are_printed_for_whoever_is_to_have_them() {
    let manifest = "\
name: shop
kafka: {brokers: 'kafka-1:9092,kafka-2:9092', properties: {security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: shop, sasl.password: x}}
topics: {orders: {partitions: 2}}
stages:
  price: {module: trial.wasm, inputs: [orders, raw], output: priced}
  copy: {module: trial.wasm, input: priced, output: copied, delivery: at-least-once, on-error: skip}
";
    let folder = Folder::with(manifest).trial("trial.wasm");
    let said = [
        folder.says("check pipeline.yaml --acls"),
        folder.says("check pipeline.yaml --acls --principal User:CN=shop,O=x"),
        folder.says("check pipeline.yaml --acls --principal shop"),
    ];
    golden("acls", &said);
    let embedded =
        Folder::with("name: x\nstages: {a: {module: trial.wasm, input: i, output: o}}\n").trial("trial.wasm");
    let said = embedded.says("check pipeline.yaml --acls");
    assert!(said.code == 2 && said.err.contains("an embedded log asks for no rights"), "{}", said.shown());
    let said = embedded.says("check pipeline.yaml --acls --kafka a:1");
    assert!(said.code == 2 && said.err.contains("--principal User:NAME"), "{}", said.shown());
}

#[test]
fn each_difference_from_what_is_declared_is_a_line_with_both() {
    let folder = Folder::with(
        "name: x\ntopics:\n  i: {partitions: 2, config: {retention.ms: 1000, max.message.bytes: 2000, unclean.leader.election.enable: true}}\n  \
         new: {partitions: 3, config: {cleanup.policy: compact}}\n  odd: {config: {retention.ms: soon}}\n\
         stages: {a: {module: trial.wasm, input: i, output: o}}\n",
    )
    .trial("trial.wasm")
    .set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    done(folder.says("topics create i --partitions 4 --config retention.ms=5000 --config max.message.bytes=2000"));
    let noted = folder.says("check pipeline.yaml");
    let online = folder.says("check pipeline.yaml --online");
    assert_eq!((noted.code, online.code), (0, 1));
    golden("differences", &[noted, online]);
}
