//! What stands in `compose/`, read by the parsers of those who will read it. Each is its own project's, and comes from
//! where its language's packages come from.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use xtask::{apt::apt, run};

/// The versions of Kubernetes that the manifests are for: the oldest and the newest.
const KUBERNETES: [&str; 2] = ["1.27", "1.37"];
/// How much `systemd-analyze security` may find exposed, of 100.
const EXPOSED: &str = "15";
/// Where the unit has the host.
const INSTALLED: &str = "/usr/local/bin/millstream";

/// Checks all of it; what it makes lies in this folder.
pub(crate) fn check(compose: &Path, scratch: &Path) -> Result<()> {
    containers(compose)?;
    kubernetes(&compose.join("kubernetes/millstream.yaml"), scratch)?;
    prometheus(compose, scratch)?;
    systemd(&compose.join("systemd"), scratch)
}

/// Compose's own parser, and BuildKit's with its lints.
fn containers(compose: &Path) -> Result<()> {
    let checks = compose.join("../xtask/elsewhere").canonicalize()?;
    run(Command::new("go").args(["run", "-mod=readonly", "."]).arg(compose).current_dir(checks))
        .context("compose.yaml or the Dockerfile is not as it should be, or Go is missing")
}

/// The schemas of Kubernetes, from PyPI.
fn kubernetes(manifest: &Path, scratch: &Path) -> Result<()> {
    let environment = scratch.join("python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("elsewhere/requirements.txt");
    run(Command::new(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(wanted))?;
    for version in KUBERNETES {
        let mut validate = Command::new(environment.join("bin/kubernetes-validate"));
        run(validate.args(["--strict", "--quiet", "--kubernetes-version", version]).arg(manifest))?;
    }
    Ok(())
}

/// The configuration, the alerts and when they speak, and all that the dashboard asks for.
fn prometheus(compose: &Path, scratch: &Path) -> Result<()> {
    let promtool = promtool(scratch)?;
    let folder = compose.join("prometheus");
    let check = |words: &[&str]| run(Command::new(&promtool).args(words).current_dir(&folder));
    check(&["check", "config", "prometheus.yml"])?;
    check(&["test", "rules", "rules.test.yml"])?;
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(compose.join("grafana/dashboards/millstream.json"))?)?;
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    ensure!(!asked.is_empty(), "the dashboard asks for nothing");
    let rules: Vec<_> = asked
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            // What Grafana puts in.
            let expression = expression.replace("$__rate_interval", "1m").replace("$__range", "1h");
            serde_json::json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let file = scratch.join("dashboard.json");
    fs::write(&file, rules.to_string())?;
    run(Command::new(&promtool).args(["check", "rules", "--lint-fatal"]).arg(file))
}

/// All that is asked for, wherever it stands.
fn expressions<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|field| expressions(field, found));
        }
        _ => {}
    }
}

/// The machine's, or that of Debian's package, which is unpacked and not installed.
fn promtool(scratch: &Path) -> Result<PathBuf> {
    if Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok("promtool".into());
    }
    let folder = scratch.join("debian");
    fs::create_dir_all(&folder)?;
    let fetch = || apt(&folder, &["download", "prometheus"]);
    // A machine that is new knows of no packages.
    fetch()
        .or_else(|_| apt(&folder, &["update"]).and_then(|()| fetch()))
        .context("promtool is missing: install Prometheus")?;
    let packages: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let package = packages.iter().find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    run(Command::new("dpkg-deb").arg("--extract").arg(package.context("no package came")?).arg(&folder))?;
    Ok(folder.join("usr/bin/promtool"))
}

/// The unit as systemd reads it, and how much it leaves open.
fn systemd(folder: &Path, scratch: &Path) -> Result<()> {
    let units = scratch.join("units");
    let own = units.join("millstream@orders.service.d");
    fs::create_dir_all(&own)?;
    let unit = fs::read_to_string(folder.join("millstream@.service"))?;
    ensure!(unit.contains(INSTALLED), "the unit starts another host than {INSTALLED}");
    // It wants to see a program where the host is going to be.
    let here = std::env::current_exe()?;
    fs::write(units.join("millstream@.service"), unit.replace(INSTALLED, &here.display().to_string()))?;
    fs::copy(folder.join("passwords.conf"), own.join("passwords.conf"))?;
    let analyze = |words: &[&str]| -> Result<String> {
        let mut command = Command::new("systemd-analyze");
        command.args(words).env("SYSTEMD_UNIT_PATH", format!("{}:", units.display())).env("SYSTEMD_PAGER", "");
        let output = command.output().context("systemd-analyze cannot be started: install systemd")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "systemd-analyze {}: {said}", words.join(" "));
        Ok(said)
    };
    let said = analyze(&["verify", "millstream@orders.service"])?;
    ensure!(said.trim().is_empty(), "systemd-analyze verify: {said}");
    let unit = units.join("millstream@.service");
    analyze(&["security", "--offline=true", "--threshold", EXPOSED, &unit.display().to_string()]).map(drop)
}
