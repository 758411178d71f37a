//! Sinks into databases: the host beside a plain script in Python that does the same in the same batches, in turn on one
//! server.

use super::{process, table::Spread};
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};
use xtask::{clean_command, mongodb::Mongodb, postgres::Postgres};

/// What both put into one batch: as many as the host does at most.
const BATCH: &str = "10000";
/// What the script needs.
const PACKAGES: [&str; 2] = ["psycopg[binary]==3.3.*", "pymongo==4.*"];
const TABLE: &str = "DROP TABLE IF EXISTS orders, millstream_progress; CREATE TABLE orders (id bigint PRIMARY KEY, \
                     customer text, amount numeric(12,2), placed timestamptz, note text)";

struct Lab {
    host: PathBuf,
    python: PathBuf,
    folder: Scratch,
}

/// Measures both databases, with records that are added and with records that replace others.
pub(super) fn run(records: u64, rounds: usize) -> Result<()> {
    let folder = Scratch::new("bench")?;
    let [host] = process::copies([process::build_host()?], folder.path())?;
    let lab = Lab { host, python: python()?, folder };
    lab.write(records)?;
    let postgres = Postgres::durable(lab.folder.path())?;
    for mode in ["insert", "upsert"] {
        let key = if mode == "upsert" { ", key: id" } else { "" };
        let sink = format!("postgres: {{url: '{}', table: orders, mode: {mode}{key}}}", postgres.url());
        let clear = || postgres.sql(TABLE).map(drop);
        let count = || Ok(postgres.sql("SELECT count(*) FROM orders")?.join("").parse()?);
        lab.compare("PostgreSQL", ("postgres", mode, &postgres.url()), &sink, records, rounds, &clear, &count)?;
    }
    drop(postgres);
    for mode in ["insert", "upsert"] {
        let id = if mode == "upsert" { ", id: value.id" } else { "" };
        let server = std::cell::RefCell::new(Mongodb::start(lab.folder.path())?);
        let uri = server.borrow().uri();
        let sink = format!("mongodb: {{uri: '{uri}', database: shop, collection: orders, mode: {mode}{id}}}");
        let clear = || {
            lab.python(&[
                "-c",
                "import sys, pymongo; pymongo.MongoClient(sys.argv[1]).shop.orders.delete_many({})",
                &uri,
            ])
            .map(drop)
        };
        let count = || {
            let script = "import sys, pymongo; print(pymongo.MongoClient(sys.argv[1]).shop.orders.count_documents({}))";
            Ok(lab.python(&["-c", script, &uri])?.trim().parse()?)
        };
        lab.compare("MongoDB's stand-in", ("mongodb", mode, &uri), &sink, records, rounds, &clear, &count)?;
    }
    Ok(())
}

impl Lab {
    /// The records, as lines and on an embedded log.
    fn write(&self, records: u64) -> Result<()> {
        let mut file = BufWriter::new(File::create(self.lines())?);
        let mut line = String::new();
        for number in 0..records {
            line.clear();
            let (customer, euros, cents) = (number % 5000, number % 300, number % 100);
            write!(
                line,
                "{{\"id\":{number},\"customer\":\"customer-{customer}\",\"amount\":{euros}.{cents:02},\
                 \"placed\":\"2026-01-01T12:{:02}:{:02}Z\",\"note\":\"as it was ordered, and not otherwise\"}}",
                number / 60 % 60,
                number % 60
            )?;
            writeln!(file, "{line}")?;
        }
        file.flush()?;
        fs::write(
            self.manifest(),
            "name: bench\ntopics: {orders: {partitions: 1}}\nsinks: {a: {input: orders, stdout: {}}}\n",
        )?;
        self.host(&["topics", "create", "orders", "--partitions", "1"], Stdio::null())?;
        self.host(&["produce", "orders"], File::open(self.lines())?.into())
    }

    #[allow(clippy::too_many_arguments, reason = "one table")]
    fn compare(
        &self,
        name: &str,
        (kind, mode, address): (&str, &str, &str),
        sink: &str,
        records: u64,
        rounds: usize,
        clear: &dyn Fn() -> Result<()>,
        count: &dyn Fn() -> Result<u64>,
    ) -> Result<()> {
        let mut rates = [Vec::new(), Vec::new()];
        // The first round pays for what nobody has done before.
        for round in 0..=rounds {
            let mut arms = [0, 1];
            arms.rotate_left(round % 2);
            for arm in arms {
                clear()?;
                let since = Instant::now();
                match arm {
                    0 => {
                        let sink = format!("{{input: orders, group: bench-{kind}-{mode}-{round}, {sink}}}");
                        let text =
                            format!("name: bench\ntopics: {{orders: {{partitions: 1}}}}\nsinks:\n  orders: {sink}\n");
                        fs::write(self.manifest(), text)?;
                        self.host(&["run", "--until-idle=1ms", "--quiet"], Stdio::null())?;
                    }
                    _ => {
                        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/sinks.py");
                        let (script, lines) = (script.display().to_string(), self.lines().display().to_string());
                        self.python(&[&script, kind, mode, address, &lines, BATCH])?;
                    }
                }
                let rate = records as f64 / since.elapsed().as_secs_f64();
                let found = count()?;
                ensure!(found == records, "{found} of {records} came");
                if round > 0 {
                    rates[arm].push(rate);
                }
            }
        }
        let ratios: Vec<_> = rates[0].iter().zip(&rates[1]).map(|(host, script)| host / script).collect();
        println!("{name}, {mode}: {records} records, {rounds} rounds, from a start to the end, records/s");
        println!("  host         {}", Spread::of(&rates[0]).whole());
        println!("  script       {}", Spread::of(&rates[1]).whole());
        println!("  host/script  {}", Spread::of(&ratios).fine());
        Ok(())
    }

    fn host(&self, words: &[&str], input: Stdio) -> Result<()> {
        let mut command = clean_command(&self.host);
        command.args(words).env("MILLSTREAM_MANIFEST", self.manifest()).current_dir(self.folder.path());
        if words[0] == "run" {
            command.arg(self.manifest());
        }
        let output = command.stdin(input).output()?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn python(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(&self.python).args(words).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "the script: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn lines(&self) -> PathBuf {
        self.folder.path().join("orders.jsonl")
    }

    fn manifest(&self) -> PathBuf {
        self.folder.path().join("millstream.yaml")
    }
}

/// A Python with both clients, made once.
fn python() -> Result<PathBuf> {
    let folder = crate::target_folder().join("xtask").join("sinks-python");
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&complete).is_ok_and(|had| had == wanted) {
        return Ok(python);
    }
    eprintln!("installing {wanted} for Python, once…");
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    ensure!(made.context("python3 cannot be started: install Python 3 with venv")?.success(), "Python makes no venv");
    let installed = Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES).status()?;
    ensure!(installed.success(), "pip cannot install {wanted}");
    fs::write(complete, wanted)?;
    Ok(python)
}
