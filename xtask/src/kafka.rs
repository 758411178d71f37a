//! A real Apache Kafka from Maven Central, on loopback, to be killed and paused at will.
//!
//! A cluster is one controller, which lives as long as the cluster does, and one broker or more. Everything lives in
//! one folder, and only the processes that were started here are ever signalled.

use crate::maven;
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a broker may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A name for the cluster: the base64 of sixteen bytes.
const CLUSTER: &str = "bWlsbHN0cmVhbS10ZXN0cw";
/// The controller's number; brokers are 1, 2 and so on.
const CONTROLLER: usize = 100;

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many brokers there are; topics have up to three replicas.
    pub brokers: usize,
    /// Lines for `server.properties`, over those that are there.
    pub properties: Vec<(String, String)>,
    /// Kafka's own timeouts, in place of the short ones that keep tests quick.
    pub default_timeouts: bool,
    /// For measurements: the full compiler, which a short test does not pay back.
    pub fast: bool,
    /// Another way to the one broker that there is.
    pub second: Option<Second>,
    /// More ways to it: each a listener's name, and its port. What is asked of those who come in there, properties say.
    pub doors: Vec<(String, u16)>,
}

/// A listener of a broker's whose clients are sent elsewhere: there somebody stands between the two.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// Where it listens.
    pub behind: u16,
    /// Where its clients find it.
    pub front: u16,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            brokers: 1,
            properties: Vec::new(),
            default_timeouts: false,
            fast: false,
            second: None,
            doors: Vec::new(),
        }
    }
}

/// A running cluster. It ends, at the latest, when this is dropped.
pub struct Cluster {
    folder: PathBuf,
    setup: Setup,
    brokers: Vec<Node>,
    _controller: Process,
}

/// A broker, running or not.
struct Node {
    port: u16,
    process: Option<Process>,
    ended: Option<Instant>,
}

impl Cluster {
    /// Makes a cluster with its data in `folder`, and waits until its brokers answer.
    pub fn start(folder: &Path, setup: &Setup) -> Result<Cluster> {
        Cluster::start_at(folder, setup, free_ports(setup.brokers)?)
    }

    /// The same, with the brokers on ports that are known beforehand.
    pub fn start_at(folder: &Path, setup: &Setup, ports: Vec<u16>) -> Result<Cluster> {
        ensure!(ports.len() == setup.brokers, "a port for each broker");
        let jars = fetch()?;
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let others = free_ports(ports.len() + 1)?;
        let controller = others.into_iter().find(|port| !ports.contains(port)).context("no port is free")?;
        let nodes = ports.iter().enumerate().map(|(index, port)| (index + 1, *port));
        for (number, port) in [(CONTROLLER, controller)].into_iter().chain(nodes) {
            let home = folder.join(number.to_string());
            fs::create_dir_all(&home)?;
            fs::write(home.join("server.properties"), properties(&home, number, port, controller, setup))?;
        }
        let mut format = java(&jars, &["-Xmx128m", "-XX:TieredStopAtLevel=1"], "kafka.tools.StorageTool");
        let settings = folder.join(CONTROLLER.to_string()).join("server.properties");
        let output = format.args(["format", "-t", CLUSTER, "-c"]).arg(settings).output()?;
        ensure!(output.status.success(), "Kafka's storage tool failed: {}", String::from_utf8_lossy(&output.stderr));
        for number in 1..=setup.brokers {
            // What the tool would write for a broker; it takes a second for each.
            let data = folder.join(number.to_string()).join("data");
            fs::create_dir_all(&data)?;
            let id = format!("bWlsbHN0cmVhb{number}1ub2RlLQ");
            let meta = format!("version=1\ncluster.id={CLUSTER}\nnode.id={number}\ndirectory.id={id}\n");
            fs::write(data.join("meta.properties"), meta)?;
        }
        let brokers = ports.iter().map(|port| Node { port: *port, process: None, ended: None }).collect();
        let _controller = spawn(&folder, CONTROLLER, false)?;
        let mut cluster = Cluster { folder, setup: setup.clone(), brokers, _controller };
        (0..setup.brokers).try_for_each(|index| cluster.launch(index))?;
        (0..setup.brokers).try_for_each(|index| cluster.wait_until_ready(index))?;
        Ok(cluster)
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        let all: Vec<_> = self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        all.join(",")
    }

    /// Starts a broker again on the data that it has, and waits until it answers.
    pub fn boot(&mut self, broker: usize) -> Result<()> {
        // A broker that is back before the controller has missed it takes itself for the leader of its partitions, is
        // then fenced, and drops the markers of transactions that it was about to write: Kafka (4.3) leaves them
        // hanging for ever.
        let session = Duration::from_secs(if self.setup.default_timeouts { 9 } else { 3 });
        if let Some(ended) = self.brokers[broker].ended {
            sleep((session + Duration::from_millis(500)).saturating_sub(ended.elapsed()));
        }
        self.launch(broker)?;
        self.wait_until_ready(broker)
    }

    fn launch(&mut self, broker: usize) -> Result<()> {
        ensure!(self.brokers[broker].process.is_none(), "the broker runs already");
        self.brokers[broker].process = Some(spawn(&self.folder, broker + 1, self.setup.fast)?);
        Ok(())
    }

    fn wait_until_ready(&mut self, broker: usize) -> Result<()> {
        let log = self.folder.join((broker + 1).to_string()).join("log");
        let (since, count) = (Instant::now(), self.brokers.len());
        let node = &mut self.brokers[broker];
        // A cluster is ready when its brokers know of each other; one that comes back is waited for alone.
        let others = if node.ended.is_some() { 1 } else { count };
        while !(fs::read_to_string(&log)?.contains("Kafka Server started") && answers(node.port, others)) {
            let ended = node.process.as_mut().is_none_or(|process| process.0.try_wait().ok().flatten().is_some());
            ensure!(!ended, "the broker ended while it started: see {}", log.display());
            ensure!(since.elapsed() < READY_WITHIN, "the broker was not ready in time: see {}", log.display());
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self, broker: usize) {
        let node = &mut self.brokers[broker];
        node.process = None;
        node.ended = Some(Instant::now());
    }

    /// Stops a broker in its tracks.
    pub fn pause(&self, broker: usize) -> Result<()> {
        self.brokers[broker].process.as_ref().map_or(Ok(()), |process| signal(process.0.id(), "STOP"))
    }

    /// Lets it go on.
    pub fn resume(&self, broker: usize) -> Result<()> {
        self.brokers[broker].process.as_ref().map_or(Ok(()), |process| signal(process.0.id(), "CONT"))
    }

    /// Waits until a broker ends by itself.
    pub fn wait(&mut self, broker: usize) -> Result<()> {
        if let Some(process) = &mut self.brokers[broker].process {
            process.0.wait()?;
        }
        Ok(())
    }
}

/// A process that ends, at the latest, when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a node on the data in its folder.
fn spawn(folder: &Path, number: usize, fast: bool) -> Result<Process> {
    let home = folder.join(number.to_string());
    let log = home.join("log");
    let options: &[&str] = match (number, fast) {
        (CONTROLLER, _) => &["-Xmx192m", "-XX:TieredStopAtLevel=1"],
        (_, true) => &["-Xmx512m", "-Xms512m"],
        (_, false) => &["-Xmx512m", "-XX:TieredStopAtLevel=1"],
    };
    let process = java(&fetch()?, options, "kafka.Kafka")
        .arg(home.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .spawn()
        .context("java cannot be started")?;
    Ok(Process(process))
}

/// Sends a signal to a process that we started.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
    ensure!(status.success(), "signal {name} could not be sent to {pid}");
    Ok(())
}

/// One of Kafka's own command line tools, such as `org.apache.kafka.tools.ConsoleProducer`.
pub fn tool(class: &str) -> Result<Command> {
    Ok(java(&fetch()?, &["-Xmx256m", "-XX:TieredStopAtLevel=1"], class))
}

/// Kafka's jars, fetched once for all checkouts of this machine.
pub fn fetch() -> Result<PathBuf> {
    let jars = maven::fetch("kafka", "Kafka (100 MB)")?;
    let logging = jars.join("log4j2.properties");
    if !logging.exists() {
        // Whole, as others may read it by now.
        let own = logging.with_extension(std::process::id().to_string());
        fs::write(&own, LOGGING)?;
        fs::rename(own, logging)?;
    }
    Ok(jars)
}

const LOGGING: &str = "status = error
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = ${sys:log.level:-WARN}
rootLogger.appenderRef.err.ref = err
";

fn java(jars: &Path, options: &[&str], class: &str) -> Command {
    let mut command = Command::new("java");
    let level = if class == "kafka.Kafka" { "INFO" } else { "WARN" };
    command
        .args(options)
        .arg("-XX:+UseSerialGC")
        .arg(format!("-Dlog4j2.configurationFile={}", jars.join("log4j2.properties").display()))
        .arg(format!("-Dlog.level={level}"))
        .args(["-cp", &format!("{}/*", jars.display())])
        .arg(class);
    command
}

/// Ports that nobody uses now, nor any other call of this process will get. They lie below those that the system gives
/// to whoever asks for just any.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut found = Vec::new();
    while found.len() < count {
        let tried = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(tried < PORTS.len() as u32, "no port is free");
        // Processes at the same time begin at other places.
        let port = PORTS.start + (std::process::id().wrapping_mul(97).wrapping_add(tried)) % PORTS.len() as u32;
        let port = u16::try_from(port)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
    }
    Ok(found)
}

/// Asks for metadata, as a client would, and looks for live brokers in the answer: a port that is open says too
/// little, as it opens before the broker is let in.
fn answers(port: u16, brokers: usize) -> bool {
    let ask = || -> Result<u32> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // Length 14; Metadata version 1; correlation 7; no client id; no topics.
        stream.write_all(b"\x00\x00\x00\x0e\x00\x03\x00\x01\x00\x00\x00\x07\xff\xff\x00\x00\x00\x00")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        match answer {
            [_, _, _, _, 0, 0, 0, 7, count @ ..] => Ok(u32::from_be_bytes(count)),
            _ => bail!("an answer to something else"),
        }
    };
    ask().is_ok_and(|count| count as usize >= brokers)
}

fn properties(home: &Path, number: usize, port: u16, controller: u16, setup: &Setup) -> String {
    let replicas = setup.brokers.min(3);
    let mut lines = vec![
        ("node.id", number.to_string()),
        ("controller.quorum.voters", format!("{CONTROLLER}@127.0.0.1:{controller}")),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
        ("controller.listener.names", "CONTROLLER".into()),
        ("log.dirs", home.join("data").display().to_string()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("auto.create.topics.enable", "false".into()),
        ("default.replication.factor", replicas.to_string()),
        ("min.insync.replicas", replicas.div_ceil(2).to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("transaction.state.log.replication.factor", replicas.to_string()),
        ("transaction.state.log.min.isr", replicas.div_ceil(2).to_string()),
        ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
        ("share.coordinator.state.topic.min.isr", replicas.div_ceil(2).to_string()),
        ("log.cleaner.dedupe.buffer.size", "16777216".into()),
        // Tests replay old timestamps, which retention by time would delete under them.
        ("log.retention.ms", "-1".into()),
    ];
    match number {
        CONTROLLER => lines
            .extend([("process.roles", "controller".into()), ("listeners", format!("CONTROLLER://127.0.0.1:{port}"))]),
        _ => lines.extend([
            ("process.roles", "broker".into()),
            ("listeners", listeners(port, setup.second.map(|second| second.behind), &setup.doors)),
            ("advertised.listeners", listeners(port, setup.second.map(|second| second.front), &setup.doors)),
            ("inter.broker.listener.name", "PLAINTEXT".into()),
        ]),
    }
    if !setup.default_timeouts {
        lines.extend([
            ("offsets.topic.num.partitions", "5".into()),
            ("transaction.state.log.num.partitions", "5".into()),
            ("group.initial.rebalance.delay.ms", "0".into()),
            ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000".into()),
            ("log.initial.task.delay.ms", "1000".into()),
            ("log.retention.check.interval.ms", "1000".into()),
            ("log.segment.delete.delay.ms", "1000".into()),
            ("broker.heartbeat.interval.ms", "500".into()),
            ("broker.session.timeout.ms", "3000".into()),
        ]);
    }
    let own = setup.properties.iter().map(|(key, value)| (key.as_str(), value.clone()));
    lines.into_iter().chain(own).map(|(key, value)| format!("{key}={value}\n")).collect()
}

fn listeners(first: u16, second: Option<u16>, doors: &[(String, u16)]) -> String {
    let second = second.map(|port| ("SECOND", port));
    let doors = doors.iter().map(|(name, port)| (name.as_str(), *port));
    let all = [("PLAINTEXT", first)].into_iter().chain(second).chain(doors);
    all.map(|(name, port)| format!("{name}://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}
