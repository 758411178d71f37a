//! Named clusters on a broker that lets nobody in who does not show something: each way in, and each way to be wrong.

use crate::{
    command::{MILLSTREAM, Running, Said},
    support::{Authority, Host, Kafka, Pipeline, Sent, process, read_all, until},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tempfile::TempDir;
use xtask::kafka::{self, Cluster, Setup};

const MINUTE: Duration = Duration::from_secs(60);
/// Passwords, which nobody is to see.
const PASSWORDS: [&str; 2] = ["swordfish-plain", "swordfish-key"];

const COPY: &str = "
topics:
  '{name}-in': {partitions: 1}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
";

/// A broker with a door for each way in.
struct Secured {
    folder: TempDir,
    /// Where everything is allowed.
    kafka: Kafka,
    doors: Vec<(String, u16)>,
    _cluster: Cluster,
}

/// The one that is there, or a new one; it ends with the last test that holds it.
fn secured() -> Arc<Secured> {
    static SECURED: Mutex<Weak<Secured>> = Mutex::new(Weak::new());
    let mut known = SECURED.lock().unwrap_or_else(PoisonError::into_inner);
    known.upgrade().unwrap_or_else(|| {
        let secured = Arc::new(Secured::start());
        *known = Arc::downgrade(&secured);
        secured
    })
}

impl Secured {
    fn start() -> Secured {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (ours, others) = (Authority::new("ours"), Authority::new("others"));
        ours.publish(&path("ca.pem"));
        others.publish(&path("others.pem"));
        ours.issue("broker", &["127.0.0.1", "localhost"], None, &path("broker.pem"));
        ours.issue("broker", &["kafka.example"], None, &path("elsewhere.pem"));
        ours.issue("client", &[], Some(PASSWORDS[1]), &path("client.pem"));
        others.issue("client", &[], None, &path("stranger.pem"));
        let doors: Vec<_> = ["TLS", "MUTUAL", "SASL", "ELSEWHERE"].map(str::to_owned).into_iter().collect();
        let doors: Vec<_> = doors.into_iter().zip(kafka::free_ports(4).unwrap()).collect();
        let shown = |name: &str| path(name).display().to_string();
        let plain = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_orders=\"{}\";",
            PASSWORDS[0]
        );
        let properties = [
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_SSL,ELSEWHERE:SSL".to_owned(),
            ),
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", shown("broker.pem")),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", shown("ca.pem")),
            ("listener.name.mutual.ssl.client.auth", "required".to_owned()),
            ("listener.name.elsewhere.ssl.keystore.type", "PEM".to_owned()),
            ("listener.name.elsewhere.ssl.keystore.location", shown("elsewhere.pem")),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512".to_owned()),
            ("listener.name.sasl.plain.sasl.jaas.config", plain),
            (
                "listener.name.sasl.scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
            ),
        ];
        let setup = Setup {
            properties: properties.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            doors: doors.clone(),
            ..Setup::default()
        };
        let _cluster = Cluster::start(&path("cluster"), &setup).unwrap();
        let kafka = Kafka { address: _cluster.address() };
        let mut tool = kafka::tool("kafka.admin.ConfigCommand").unwrap();
        tool.args([
            "--bootstrap-server",
            &kafka.address,
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            "orders",
        ]);
        tool.args(["--add-config", &format!("SCRAM-SHA-512=[password={}]", PASSWORDS[0])]);
        let output = tool.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Secured { folder, kafka, doors, _cluster }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self, door: &str) -> String {
        match self.doors.iter().find(|(name, _)| name == door) {
            Some((_, port)) => format!("127.0.0.1:{port}"),
            None => self.kafka.address.clone(),
        }
    }

    /// The words for `clusters add` that lead through this door: `CA` and such stand for files of ours.
    fn way(&self, door: &str, properties: &str) -> String {
        let mut words = format!("--brokers {}", self.address(door));
        for property in properties.split_whitespace() {
            let flag = if property.contains("password=") { "--secret" } else { "--property" };
            words += &format!(" {flag} {}", property.replace("FOLDER", &self.folder.path().display().to_string()));
        }
        words
    }
}

/// A user with clusters of their own.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> User {
        User { home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = xtask::clean_command(MILLSTREAM);
        command.args(arguments).current_dir(self.home.path());
        command.env("MILLSTREAM_CLUSTERS_FILE", self.home.path().join("clusters.yaml"));
        command.env("PASSWORD", PASSWORDS[0]);
        command
    }

    fn says(&self, words: &str) -> Said {
        let arguments: Vec<_> = words.split_whitespace().collect();
        Running::start(&mut self.command(&arguments), words).end()
    }

    fn given(&self, input: &str, words: &str) -> Said {
        let arguments: Vec<_> = words.split_whitespace().collect();
        Running::start(&mut self.command(&arguments), words).given(input)
    }

    /// A host that runs this on a cluster.
    fn run(&self, manifest: &Path, cluster: &str, arguments: &[&str]) -> Host {
        let log = self.home.path().join(format!("{cluster}.log"));
        let words = [&["run", manifest.to_str().unwrap(), "--cluster", cluster], arguments].concat();
        Host::start(self.command(&words).stdin(Stdio::null()).stdout(Stdio::null()), log)
    }
}

fn done(said: Said) -> String {
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}: {}", said.words, said.out);
    said.out
}

fn is_silent_about_secrets(text: &str) {
    for password in PASSWORDS {
        assert!(!text.contains(password), "{text}");
    }
}

#[test]
fn each_way_in_is_taken_under_a_name() {
    let (secured, user) = (secured(), User::new());
    let key_password = secured.path("key-password");
    fs::write(&key_password, format!("{}\n", PASSWORDS[1])).unwrap();
    const CA: &str = "ssl.ca.location=FOLDER/ca.pem";
    for (name, door, properties) in [
        ("tls", "TLS", format!("security.protocol=SSL {CA}")),
        (
            "mutual",
            "MUTUAL",
            format!(
                "security.protocol=SSL {CA} ssl.certificate.location=FOLDER/client.pem ssl.key.location=FOLDER/client.pem \
                 ssl.key.password=file:FOLDER/key-password"
            ),
        ),
        (
            "plain",
            "SASL",
            format!(
                "security.protocol=SASL_SSL {CA} sasl.mechanism=PLAIN sasl.username=orders sasl.password=env:PASSWORD"
            ),
        ),
        (
            "scram",
            "SASL",
            format!(
                "security.protocol=SASL_SSL {CA} sasl.mechanism=SCRAM-SHA-512 sasl.username=orders sasl.password=stdin"
            ),
        ),
    ] {
        let added = user.given(PASSWORDS[0], &format!("clusters add {name} {}", secured.way(door, &properties)));
        assert_eq!(done(added), format!("cluster {name} added\n"));
        let shown = done(user.says(&format!("clusters show {name} --online")));
        assert!(shown.contains("1 broker, ") && shown.contains(&secured.address(door)), "{shown}");
        is_silent_about_secrets(&shown);
        // The manifest's own cluster is another one, where nobody answers.
        let pipeline = Pipeline::new(&Kafka { address: "127.0.0.1:1".into() }, COPY);
        let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
        done(user.says(&format!("topics create {input} --cluster {name}")));
        assert_eq!(
            done(user.given("a\nb\n", &format!("produce {input} --cluster {name}"))),
            "2 records acknowledged\n"
        );
        let mut host = user.run(&pipeline.folder.path().join("pipeline.yaml"), name, &["--until-idle"]);
        assert!(host.wait(MINUTE).success(), "{name}: {}", host.said());
        is_silent_about_secrets(&host.said());
        let texts: Vec<_> = read_all(&secured.kafka, &output).iter().map(|record| record.text()).collect();
        assert_eq!(texts, ["a", "b"], "{name}");
        let offsets = done(user.says(&format!("offsets show {}.copy --cluster {name}", pipeline.name)));
        assert!(offsets.contains(&input), "{offsets}");
    }
    // A command's output is a secret as any other.
    let words =
        secured.way("SASL", &format!("security.protocol=SASL_SSL {CA} sasl.mechanism=PLAIN sasl.username=orders"));
    let command = format!("sasl.password=command:printf '%s' \"$PASSWORD\"; echo {} >&2", PASSWORDS[1]);
    let arguments: Vec<_> =
        "clusters add told".split(' ').chain(words.split(' ')).chain(["--secret", &command]).collect();
    done(Running::start(&mut user.command(&arguments), "clusters add told").end());
    let list = done(user.says("clusters list"));
    assert!(["mutual", "plain", "scram", "tls", "told"].iter().all(|name| list.contains(name)), "{list}");
    assert!(done(user.says("clusters show told --online")).contains("1 broker, "));
}

/// Whoever shows something wrong, or nothing, is told what in one line: by a command, and by a host, which waits.
#[test]
fn each_wrong_key_is_told_in_one_line() {
    let (secured, user) = (secured(), User::new());
    process::guests();
    const CA: &str = "ssl.ca.location=FOLDER/ca.pem";
    let wrong_user = "SASL_SSL ssl.ca.location=FOLDER/ca.pem sasl.username=orders sasl.password=stdin";
    for (name, door, properties, told) in [
        (
            "wrong-plain",
            "SASL",
            format!("security.protocol={wrong_user} sasl.mechanism=PLAIN"),
            "does not let this user in: Authentication failed: Invalid username or password",
        ),
        (
            "wrong-scram",
            "SASL",
            format!("security.protocol={wrong_user} sasl.mechanism=SCRAM-SHA-512"),
            "does not let this user in: Authentication failed during authentication due to invalid credentials",
        ),
        (
            "no-such-way",
            "SASL",
            format!("security.protocol={wrong_user} sasl.mechanism=SCRAM-SHA-256"),
            "Unsupported SASL mechanism",
        ),
        (
            "wrong-authority",
            "TLS",
            "security.protocol=SSL ssl.ca.location=FOLDER/others.pem".to_owned(),
            "shows a certificate that is not trusted: ",
        ),
        (
            "wrong-name",
            "ELSEWHERE",
            format!("security.protocol=SSL {CA}"),
            "shows a certificate for kafka.example, and not for the name",
        ),
        (
            "no-certificate",
            "MUTUAL",
            format!("security.protocol=SSL {CA}"),
            "wants a certificate of this client: set `ssl.certificate.location`",
        ),
        (
            "stranger",
            "MUTUAL",
            format!(
                "security.protocol=SSL {CA} ssl.certificate.location=FOLDER/stranger.pem \
                 ssl.key.location=FOLDER/stranger.pem"
            ),
            "does not trust this client's certificate",
        ),
        ("no-tls", "TLS", String::new(), "is `security.protocol` right?"),
        ("tls-for-plain", "PLAINTEXT", format!("security.protocol=SSL {CA}"), "does not speak TLS there"),
    ] {
        done(user.given("wrong-password", &format!("clusters add {name} {}", secured.way(door, &properties))));
        let said = user.says(&format!("topics list --cluster {name}"));
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (1, "", 1), "{name}: {}", said.err);
        assert!(said.err.contains(told), "{name}: {}", said.err);
        let pipeline = Pipeline::new(&Kafka { address: "127.0.0.1:1".into() }, COPY);
        let mut host = user.run(&pipeline.folder.path().join("pipeline.yaml"), name, &[]);
        host.wait_until_said("waiting until it answers");
        std::thread::sleep(Duration::from_secs(2));
        let text = host.said();
        let warned: Vec<_> =
            text.lines().filter(|line| line.contains("warning: ") || line.contains("error: ")).collect();
        assert!(warned.len() == 1 && warned[0].contains(told), "{name}: {text}");
        assert!(host.is_running(), "{name}: {text}");
        host.signal("TERM");
        assert!(host.wait(MINUTE).success(), "{name}: {}", host.said());
        assert!(!host.said().contains("wrong-password") && !said.err.contains("wrong-password"));
    }
}

/// The password of a client's key is looked at before anything is connected.
#[test]
fn a_key_that_cannot_be_opened_is_told_before_anything_is_connected() {
    let (secured, user) = (secured(), User::new());
    let way = |password: &str| {
        let own = "ssl.certificate.location=FOLDER/client.pem ssl.key.location=FOLDER/client.pem";
        let properties =
            format!("security.protocol=SSL ssl.ca.location=FOLDER/ca.pem {own} ssl.key.password={password}");
        secured.way("MUTUAL", &properties)
    };
    let at_once = user.given("wrong-password", &format!("clusters add locked {}", way("stdin")));
    // What is fetched later is looked at then.
    fs::write(user.home.path().join("wrong"), "wrong-password").unwrap();
    done(user.says(&format!("clusters add locked {}", way("file:wrong"))));
    let later = user.says("topics list --cluster locked");
    assert!(later.err.contains("cluster locked: "), "{}", later.err);
    for said in [at_once, later] {
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (2, "", 1), "{}", said.err);
        assert!(said.err.contains("ssl.key") && !said.err.contains("wrong-password"), "{}", said.err);
    }
}

#[test]
fn resources_are_shown_and_removed() {
    let (kafka, user) = (Kafka::shared(), User::new());
    let pipeline = Pipeline::new(
        &kafka,
        "
topics:
  '{name}-declared': {partitions: 1}
stages:
  copy:
    module: '{guests}/trial.wasm'
    inputs: ['{name}-declared', '{name}-foreign']
    output: '{name}-out'
",
    );
    let [declared, foreign, output] = ["declared", "foreign", "out"].map(|stem| pipeline.topic(stem));
    kafka.make(&foreign, 1, &[]);
    kafka.send(&foreign, ["a", "reject"].map(|text| Sent { value: Some(text.as_bytes()), ..Sent::default() }));
    let manifest = pipeline.folder.path().join("pipeline.yaml").display().to_string();
    let mut host = pipeline.run(&[]);
    until("it is at work", MINUTE, || kafka.lag(&format!("{}.copy", pipeline.name), &foreign) == 0);
    let said = user.says(&format!("resources {manifest} --delete --yes"));
    assert!(said.code == 2 && said.err.contains("end its host first, and then remove it"), "{said:?}");
    host.signal("TERM");
    assert!(host.wait(MINUTE).success());
    let shown = done(user.says(&format!("resources {manifest}")));
    let (letters, group) = (format!("{}.copy.dead-letter", pipeline.name), format!("{}.copy", pipeline.name));
    for words in [&declared, &foreign, &output, &letters, &group, &format!("{letters}.retry"), &format!("{group}.…")]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.contains("one a worker, 1 worker on this machine") && shown.contains("which stay"), "{shown}");
    let said = user.says(&format!("resources {manifest} --delete"));
    assert!(said.code == 2 && said.err.contains("add `--yes` when it is meant"), "{said:?}");
    // A member that has just ended counts for a while.
    let said = user.says(&format!("resources {manifest} --delete --yes --json"));
    assert_eq!(said.code, 0, "{said:?}");
    let deleted: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(deleted["deleted"]["groups"], serde_json::json!([group]));
    let mut gone = vec![declared, output, letters];
    gone.sort();
    assert_eq!(deleted["deleted"]["topics"], serde_json::json!(gone));
    let all = kafka.topics().list().unwrap();
    assert!(all.contains_key(&foreign) && !gone.iter().any(|topic| all.contains_key(topic)));
    let shown = done(user.says(&format!("resources {manifest} --json")));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["groups"].as_array().unwrap().iter().all(|group| group["there"] == false), "{shown}");
}

/// Sends a request without a word about anything but its body.
fn ask(address: &str, head: &str, body: &str) -> (u16, serde_json::Value) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    let request =
        format!("{head} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_host_shows_its_cluster_and_makes_topics_there() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let host = pipeline.run(&["--admin", "127.0.0.1:0"]);
    let (address, made) = (host.admin(), pipeline.topic("made"));
    let (status, view) = ask(&address, "GET /v1/cluster", "");
    assert_eq!((status, &view["kind"]), (200, &serde_json::json!("kafka")), "{view}");
    assert!(view["id"].is_string() && view["controller"] == view["brokers"][0]["number"], "{view}");
    assert_eq!(view["brokers"][0]["address"], kafka.address.as_str());
    let topic = format!("{{\"topic\": \"{made}\", \"partitions\": 3, \"config\": {{\"retention.ms\": 5000}}}}");
    assert_eq!(ask(&address, "POST /v1/topics", &topic).0, 201);
    assert_eq!(ask(&address, "POST /v1/topics", &topic).0, 409);
    let facts = kafka.topics().find(&[&made]).unwrap().remove(&made).unwrap();
    assert_eq!((facts.partitions, facts.number("retention.ms")), (3, Some(5000)));
    let (status, refused) =
        ask(&address, "POST /v1/topics", &format!("{{\"topic\": \"{made}x\", \"replication\": 9}}"));
    assert_eq!((status, &refused["error"]["code"]), (422, &serde_json::json!("refused")), "{refused}");
    assert!(!kafka.topics().list().unwrap().contains_key(&format!("{made}x")));
}

#[test]
fn a_check_asks_whether_topics_could_be_made() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &COPY.replace("partitions: 1", "partitions: 1, replication: 9"));
    let (user, manifest) = (User::new(), pipeline.folder.path().join("pipeline.yaml").display().to_string());
    let said = user.says(&format!("check {manifest}"));
    let told = format!("`run` would end at once: topic {} cannot be made: ", pipeline.topic("in"));
    assert!(said.code == 0 && said.err.contains(&told), "{}", said.err);
    let said = user.says(&format!("check {manifest} --online"));
    assert!(said.code == 1 && said.err.contains(&told), "{}", said.err);
    pipeline.write(COPY);
    let said = user.says(&format!("check {manifest} --online"));
    let made = format!("topic {} is not there: `run` makes it with 1 partition\n", pipeline.topic("in"));
    assert!(said.code == 0 && said.err.contains(&made), "{}", said.err);
    assert!(kafka.topics().find(&[&pipeline.topic("in")]).unwrap().is_empty(), "nothing was made");
}
