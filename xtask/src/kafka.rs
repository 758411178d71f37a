//! A real Apache Kafka from Maven Central, on loopback, to be killed and paused at will.
//!
//! It runs one node that is broker and controller. Everything lives in one folder, and only the processes that were
//! started here are ever signalled.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a broker may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A name for the cluster: the base64 of sixteen bytes.
const CLUSTER: &str = "bWlsbHN0cmVhbS10ZXN0cw";

/// How a broker is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Lines for `server.properties`, over those that are there.
    pub properties: Vec<(String, String)>,
    /// Kafka's own timeouts, in place of the short ones that keep tests quick.
    pub default_timeouts: bool,
    /// For measurements: the full compiler, which a short test does not pay back.
    pub fast: bool,
}

/// A running broker. It ends, at the latest, when this is dropped.
pub struct Broker {
    folder: PathBuf,
    port: u16,
    fast: bool,
    process: Option<Child>,
}

impl Broker {
    /// Makes a broker with its data in `folder`, and waits until it answers.
    pub fn start(folder: &Path, setup: &Setup) -> Result<Broker> {
        let (port, controller) = free_ports()?;
        Broker::start_at(folder, setup, port, controller)
    }

    /// The same, on ports that are known beforehand.
    pub fn start_at(folder: &Path, setup: &Setup, port: u16, controller: u16) -> Result<Broker> {
        let jars = fetch()?;
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        fs::write(folder.join("server.properties"), properties(&folder, port, controller, setup))?;
        let mut format = java(&jars, &["-Xmx128m", "-XX:TieredStopAtLevel=1"], "kafka.tools.StorageTool");
        let output = format.args(["format", "-t", CLUSTER, "-c"]).arg(folder.join("server.properties")).output()?;
        ensure!(output.status.success(), "Kafka's storage tool failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut broker = Broker { folder, port, fast: setup.fast, process: None };
        broker.boot()?;
        Ok(broker)
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts it again on the data that it has.
    pub fn boot(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the broker runs already");
        let jars = fetch()?;
        let log = self.folder.join("log");
        let options: &[&str] =
            if self.fast { &["-Xmx512m", "-Xms512m"] } else { &["-Xmx512m", "-XX:TieredStopAtLevel=1"] };
        let process = java(&jars, options, "kafka.Kafka")
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("java cannot be started")?;
        self.process = Some(process);
        let since = Instant::now();
        while !(fs::read_to_string(&log)?.contains("Kafka Server started") && answers(self.port)) {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            ensure!(ended.is_none(), "the broker ended while it started: see {}", log.display());
            ensure!(since.elapsed() < READY_WITHIN, "the broker was not ready in time: see {}", log.display());
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// An orderly end.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), "TERM")?;
            process.wait()?;
        }
        Ok(())
    }

    /// Stops it in its tracks.
    pub fn pause(&self) -> Result<()> {
        self.pid().map_or(Ok(()), |pid| signal(pid, "STOP"))
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.pid().map_or(Ok(()), |pid| signal(pid, "CONT"))
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.wait()?;
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A paused process does not end before it goes on.
        self.resume().ok();
        self.kill().ok();
    }
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
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
    let wanted = fs::read_to_string(&pom)?;
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where Kafka may be kept")?
        .join("millstream");
    fs::create_dir_all(&cache)?;
    let (jars, complete) = (cache.join("kafka"), cache.join("kafka/pom.xml"));
    let lock = File::create(cache.join("kafka.lock"))?;
    lock.lock()?;
    if fs::read_to_string(&complete).is_ok_and(|had| had == wanted) {
        return Ok(jars);
    }
    eprintln!("fetching Kafka from Maven Central, once (100 MB)…");
    if jars.exists() {
        fs::remove_dir_all(&jars)?;
    }
    fs::create_dir_all(&jars)?;
    let status = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", &format!("-DoutputDirectory={}", jars.display())])
        .status()
        .context("mvn cannot be started: install Maven and a Java of 17 or later")?;
    ensure!(status.success(), "Maven could not fetch Kafka");
    fs::write(jars.join("log4j2.properties"), LOGGING)?;
    fs::write(&complete, wanted)?;
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

/// Two ports that nobody uses now.
fn free_ports() -> Result<(u16, u16)> {
    let (a, b) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok((a.local_addr()?.port(), b.local_addr()?.port()))
}

/// Asks for metadata, as a client would, and looks for a live broker in the answer: a port that is open says too
/// little, as it opens before the broker is let in.
fn answers(port: u16) -> bool {
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
    ask().is_ok_and(|brokers| brokers > 0)
}

fn properties(folder: &Path, port: u16, controller: u16, setup: &Setup) -> String {
    let mut lines = vec![
        ("process.roles", "broker,controller".into()),
        ("node.id", "1".into()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
        ("controller.listener.names", "CONTROLLER".into()),
        ("inter.broker.listener.name", "PLAINTEXT".into()),
        ("log.dirs", folder.join("data").display().to_string()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("auto.create.topics.enable", "false".into()),
        ("offsets.topic.replication.factor", "1".into()),
        ("transaction.state.log.replication.factor", "1".into()),
        ("transaction.state.log.min.isr", "1".into()),
        ("share.coordinator.state.topic.replication.factor", "1".into()),
        ("share.coordinator.state.topic.min.isr", "1".into()),
        ("log.cleaner.dedupe.buffer.size", "16777216".into()),
        // Tests replay old timestamps, which retention by time would delete under them.
        ("log.retention.ms", "-1".into()),
    ];
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
