//! A real PostgreSQL, the distribution's own, on loopback, to be killed at will. Everything lives in one folder.

use crate::{
    apt::apt,
    kafka::{free_ports, signal},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The user that it runs as, where it is started by root, whom the server refuses.
const SYSTEM_USER: &str = "postgres";
/// The password of its superuser.
const PASSWORD: &str = "not-to-be-shown";
/// How long it may take to be back.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running server. It ends, at the latest, when this is dropped.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    programs: PathBuf,
    /// Lines for its command line.
    options: &'static str,
}

impl Postgres {
    /// Makes a server with its data in `folder`, and waits until it answers. What is committed outlives any process, as
    /// tests need it, and not a loss of power.
    pub fn start(folder: &Path) -> Result<Postgres> {
        Postgres::with(folder, "-c fsync=off")
    }

    /// The same as it is run where data counts.
    pub fn durable(folder: &Path) -> Result<Postgres> {
        Postgres::with(folder, "-c shared_buffers=256MB -c max_wal_size=2GB")
    }

    fn with(folder: &Path, options: &'static str) -> Result<Postgres> {
        let folder = folder.canonicalize()?.join("postgres");
        fs::create_dir_all(&folder)?;
        let server = Postgres { programs: programs()?, port: free_ports(1)?[0], folder, options };
        if is_root()? {
            // It has to find its way there.
            let above = server.folder.parent().context("a folder is in another one")?;
            fs::set_permissions(above, fs::Permissions::from_mode(0o711))?;
            run(Command::new("chown").arg(SYSTEM_USER).arg(&server.folder))?;
        }
        let password = server.folder.join("password");
        fs::write(&password, PASSWORD)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644))?;
        let mut init = server.program("initdb")?;
        init.args(["-A", "trust", "--auth-host=scram-sha-256", "-U", "postgres", "--no-sync", "-E", "UTF8"]);
        run(init.arg("--pwfile").arg(&password).arg("-D").arg(server.data()))?;
        server.boot()?;
        Ok(server)
    }

    /// Starts it on the data that it has, and waits until it answers.
    pub fn boot(&self) -> Result<()> {
        let since = Instant::now();
        loop {
            let mut start = self.program("pg_ctl")?;
            let folder = self.folder.display();
            let options = format!("-p {} -h 127.0.0.1 -k {folder} {}", self.port, self.options);
            start.args(["-w", "-s", "-l"]).arg(self.folder.join("log")).arg("-o").arg(options);
            // Somebody may have taken its port meanwhile, for a moment.
            match run(start.arg("-D").arg(self.data()).arg("start")) {
                Ok(()) => return Ok(()),
                Err(error) if since.elapsed() > READY_WITHIN => return Err(error),
                Err(_) => sleep(Duration::from_millis(200)),
            }
        }
    }

    /// From now on it speaks TLS alone, with the key and the certificate in this file. The user `bearer` is let in by a
    /// certificate of these authorities and nothing else, all others by their passwords.
    pub fn require_tls(&self, own: &Path, authorities: &Path) -> Result<()> {
        self.sql("CREATE ROLE bearer LOGIN SUPERUSER")?;
        for (from, to) in [(own, "own.pem"), (authorities, "authorities.pem")] {
            let to = self.data().join(to);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            if is_root()? {
                run(Command::new("chown").arg(SYSTEM_USER).arg(&to))?;
            }
        }
        let settings =
            "ssl = on\nssl_cert_file = 'own.pem'\nssl_key_file = 'own.pem'\nssl_ca_file = 'authorities.pem'\n";
        File::options().append(true).open(self.data().join("postgresql.conf"))?.write_all(settings.as_bytes())?;
        let who = "hostssl all bearer all cert\nhostssl all all all scram-sha-256\n";
        fs::write(self.data().join("pg_hba.conf"), who)?;
        self.sql("SELECT pg_reload_conf()").map(drop)
    }

    /// kill -9; all of it is gone then, as its other processes notice it.
    pub fn kill(&self) -> Result<()> {
        let server = self.pid()?;
        // It starts no other one from here on.
        signal(server, "STOP")?;
        let all =
            [server].into_iter().chain(children(server)?).map(|pid| pid.to_string()).collect::<Vec<_>>().join(",");
        signal(server, "KILL")?;
        let since = Instant::now();
        loop {
            let states = Command::new("ps").args(["-o", "stat=", "-p", &all]).output()?.stdout;
            if String::from_utf8_lossy(&states).lines().all(|state| state.starts_with('Z')) {
                break;
            }
            ensure!(since.elapsed() < READY_WITHIN, "the processes of PostgreSQL outlive it");
            sleep(Duration::from_millis(20));
        }
        // Who is dead may stand in the system's list for a while, and PostgreSQL would take it for alive.
        fs::remove_file(self.folder.join(format!(".s.PGSQL.{}.lock", self.port)))?;
        Ok(fs::remove_file(self.data().join("postmaster.pid"))?)
    }

    /// Stops all of it in its tracks, or lets it go on: what listens, and what speaks with clients.
    pub fn signal_all(&self, name: &str) -> Result<()> {
        let server = self.pid()?;
        for child in children(server)? {
            signal(child, name).ok();
        }
        signal(server, name)
    }

    fn pid(&self) -> Result<u32> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).context("PostgreSQL does not run")?;
        Ok(file.lines().next().unwrap_or_default().trim().parse()?)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How clients find it.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD, self.port)
    }

    /// The same with another password, or through something that stands before it.
    pub fn url_with(&self, password: &str, port: u16) -> String {
        format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres")
    }

    /// The password that nobody is to see.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What it says to a statement: a line for each row, its columns with `|` between.
    pub fn sql(&self, statement: &str) -> Result<Vec<String>> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, "-d"]).arg(self.url());
        let output = psql.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of its programs, as a user that it does not refuse.
    fn program(&self, name: &str) -> Result<Command> {
        let program = self.programs.join(name);
        let mut command = if is_root()? { Command::new("runuser") } else { Command::new(&program) };
        if is_root()? {
            command.args(["-u", SYSTEM_USER, "--"]).arg(&program);
        }
        command.current_dir("/");
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stop = self.program("pg_ctl").map(|mut stop| {
            run(stop.args(["-s", "-m", "immediate", "-D"]).arg(self.data()).arg("stop")).ok();
        });
        stop.ok();
    }
}

/// Where the programs lie; installed, when that is to be had.
pub fn programs() -> Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    let way_out = "install PostgreSQL, 12 or later: `apt-get install --no-install-recommends postgresql`";
    ensure!(is_root()? && Path::new("/usr/bin/apt-get").exists(), "there is no PostgreSQL here: {way_out}");
    eprintln!("installing PostgreSQL with apt-get, once…");
    let here = Path::new(".");
    apt(here, &["update"])?;
    apt(here, &["install", "--yes", "--no-install-recommends", "postgresql"])?;
    installed().with_context(|| format!("apt-get has installed no PostgreSQL: {way_out}"))
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let known = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let has_all = |folder: &PathBuf| ["initdb", "pg_ctl", "psql"].iter().all(|name| folder.join(name).exists());
    folders.into_iter().rev().chain(known).find(has_all)
}

/// The processes that this one has started, and that are there.
fn children(server: u32) -> Result<Vec<u32>> {
    let found = Command::new("ps").args(["-o", "pid=", "--ppid", &server.to_string()]).output()?;
    String::from_utf8_lossy(&found.stdout).split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "0")
}

/// Runs a command to its end. What it leaves running must hold no pipe of ours.
fn run(command: &mut Command) -> Result<()> {
    let words = format!("{command:?}");
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("{words} cannot be started"))?;
    if !status.success() {
        bail!("{words}: {status}");
    }
    Ok(())
}
