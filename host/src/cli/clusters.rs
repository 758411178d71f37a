//! `clusters`: names for clusters, with how each is reached, in the user's configuration.

use super::{Exit, client, cluster, confirm::confirm, load::broker, log::explain, pair::pair, print, say, wrong};
use crate::{
    clusters::{self, Clusters, Connection, Origin},
    manifest::{check_cluster_name, is_secret, owned_by_host},
    text::count,
    transport::log::{ClusterFacts, Log},
};
use anyhow::Result;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

/// Give names to clusters, with how each is reached
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream clusters add dev --brokers localhost:9092 --use
  millstream clusters list
  millstream topics list --cluster dev

Names are kept in $XDG_CONFIG_HOME/millstream/clusters.yaml, or in ~/.config;
MILLSTREAM_CLUSTERS_FILE names another file.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print JSON
    #[arg(long, global = true, env = "MILLSTREAM_JSON")]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the clusters; a star marks the current one
    #[command(after_help = "Example:\n  millstream clusters list")]
    List,
    /// Add a cluster
    #[command(after_help = "Examples:
  millstream clusters add dev --brokers localhost:9092
  millstream clusters add prod --brokers kafka-1:9093,kafka-2:9093 \\
    --property security.protocol=SASL_SSL --property sasl.username=orders \\
    --property sasl.mechanism=SCRAM-SHA-512 \\
    --secret sasl.password=env:KAFKA_PASSWORD

Where a secret comes from is one of
  env:VARIABLE     a variable of the environment, when the cluster is used
  file:PATH        a file, when the cluster is used
  command:WORDS    what a command of the shell prints then, within a minute
  stdin            what is piped in now: it is kept in the file of clusters")]
    Add(Add),
    /// Make a cluster the current one: commands that are told of no other take it, and say so
    #[command(after_help = "Example:\n  millstream clusters use dev")]
    Use {
        /// Its name
        name: String,
    },
    /// Show how a cluster is reached, without its secrets, and what it says
    #[command(after_help = "Example:\n  millstream clusters show prod --online")]
    Show {
        /// Its name; the current one when not given
        name: Option<String>,
        /// A cluster that does not answer is an error, not a note
        #[arg(long, env = "MILLSTREAM_ONLINE")]
        online: bool,
    },
    /// Forget a cluster; nothing is done to it
    #[command(after_help = "Example:\n  millstream clusters remove dev --yes")]
    Remove {
        /// Its name
        name: String,
        /// Without asking
        #[arg(long, env = "MILLSTREAM_YES")]
        yes: bool,
    },
}

#[derive(clap::Args)]
struct Add {
    /// What it is called
    name: String,
    /// Where it is reached
    #[arg(long, value_name = "BROKERS", value_delimiter = ',', value_parser = broker, required = true,
          env = "MILLSTREAM_BROKERS")]
    brokers: Vec<String>,
    /// One of librdkafka's properties; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// A property whose value is fetched; may be repeated
    #[arg(long, value_name = "KEY=WHERE", value_parser = pair)]
    secret: Vec<(String, String)>,
    /// Make it the current one
    #[arg(long = "use", env = "MILLSTREAM_USE")]
    make_current: bool,
    /// In place of the one of this name
    #[arg(long, env = "MILLSTREAM_REPLACE")]
    replace: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    let path = clusters::file().map_err(|error| wrong(format!("{error:#}")))?;
    let clusters = cluster::read(&path)?;
    let json = arguments.json;
    match arguments.command {
        Command::List => list(&clusters, json),
        Command::Add(add) => {
            let (name, changed) = added(add, clusters)?;
            changed.write(&path)?;
            told(json, &changed, &json!({"added": name}), &format!("cluster {name} added"))
        }
        Command::Use { name } => {
            cluster::find(&clusters, &name)?;
            let changed = Clusters { current: Some(name.clone()), ..clusters };
            changed.write(&path)?;
            told(json, &changed, &json!({"current": name}), &format!("{name} is the current cluster"))
        }
        Command::Show { name, online } => show(&clusters, name, online, json),
        Command::Remove { name, yes } => {
            cluster::find(&clusters, &name)?;
            if !confirm(&format!("forget how cluster {name} is reached"), yes)? {
                say("nothing was done\n");
                return Ok(Exit::Failed);
            }
            let mut changed = clusters;
            changed.all.remove(&name);
            let was_current = changed.current.take_if(|current| *current == name).is_some();
            changed.write(&path)?;
            let also = if was_current { ", and none is the current one now" } else { "" };
            told(json, &changed, &json!({"removed": name}), &format!("cluster {name} forgotten{also}"))
        }
    }
}

fn told(json: bool, clusters: &Clusters, value: &Value, text: &str) -> Result<Exit> {
    if json {
        let mut value = value.clone();
        value["current"] = json!(clusters.current);
        print(&format!("{value}\n"))?;
    } else {
        print(&format!("{text}\n"))?;
    }
    Ok(Exit::Done)
}

fn list(clusters: &Clusters, json: bool) -> Result<Exit> {
    if json {
        let rows: Vec<_> = clusters
            .all
            .iter()
            .map(|(name, connection)| {
                let is_current = clusters.current.as_ref() == Some(name);
                json!({"name": name, "current": is_current, "brokers": connection.brokers})
            })
            .collect();
        print(&format!("{}\n", serde_json::to_string(&rows)?))?;
        return Ok(Exit::Done);
    }
    let width = clusters.all.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (name, connection) in &clusters.all {
        let mark = if clusters.current.as_ref() == Some(name) { '*' } else { ' ' };
        let first = connection.brokers.first().map_or("", String::as_str);
        let more = match connection.brokers.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let by = match connection.properties.get("security.protocol") {
            Some(Origin::Written(protocol)) => format!(", by {}", protocol.reveal().to_ascii_uppercase()),
            _ => String::new(),
        };
        writeln!(text, "{mark} {name:width$}  {first}{more}{by}")?;
    }
    if clusters.all.is_empty() {
        say("there is none yet: `millstream clusters add` makes one known\n");
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// The clusters with one more.
fn added(add: Add, mut clusters: Clusters) -> Result<(String, Clusters)> {
    let Add { name, brokers, property, secret, make_current, replace } = add;
    check_cluster_name(&name).map_err(|(what, way_out)| wrong(format!("{what}: {way_out}")))?;
    if clusters.all.contains_key(&name) && !replace {
        return Err(wrong(format!("there is a cluster {name} already: `--replace` puts this one in its place")));
    }
    let mut properties = BTreeMap::new();
    for (key, value) in property {
        if is_secret(&key) {
            return Err(wrong(format!(
                "`{key}` is a secret, which the command line shows to others and the shell remembers: say where it comes \
                 from, as in `--secret {key}=env:VARIABLE`"
            )));
        }
        // A path means the same wherever the cluster is used.
        let value = if key.ends_with(".location") { absolute(&value)?.display().to_string() } else { value };
        client::check_property(&key, Some(&value)).map_err(wrong)?;
        put(&mut properties, key, Origin::Written(value.into()))?;
    }
    let mut was_read = false;
    for (key, from) in secret {
        client::check_property(&key, None).map_err(wrong)?;
        let origin = match from.split_once(':') {
            None if from == "stdin" && !std::mem::replace(&mut was_read, true) => {
                let secret = piped(&key)?;
                client::check_property(&key, Some(&secret)).map_err(wrong)?;
                Origin::Written(secret.into())
            }
            None if from == "stdin" => return Err(wrong("one secret alone can come by `stdin`")),
            Some(("env", variable)) if !variable.is_empty() && !variable.contains('=') => {
                Origin::Environment(variable.to_owned())
            }
            Some(("file", path)) if !path.is_empty() => Origin::File(absolute(path)?),
            Some(("command", words)) if !words.trim().is_empty() => Origin::Command(words.to_owned()),
            // What it is may be the secret itself.
            _ => {
                return Err(wrong(format!(
                    "write `--secret {key}=` and where it comes from: `env:VARIABLE`, `file:PATH`, `command:WORDS` or `stdin`"
                )));
            }
        };
        put(&mut properties, key, origin)?;
    }
    let connection = Connection { brokers, properties };
    // With what is fetched later, it is looked at later.
    if connection.properties.values().all(|origin| matches!(origin, Origin::Written(_))) {
        client::check_cluster(&connection.fetch()?).map_err(wrong)?;
    }
    clusters.all.insert(name.clone(), connection);
    if make_current {
        clusters.current = Some(name.clone());
    }
    Ok((name, clusters))
}

fn put(properties: &mut BTreeMap<String, Origin>, key: String, origin: Origin) -> Result<()> {
    if let Some((what, way_out)) = owned_by_host(&key) {
        return Err(wrong(format!("{what}: {way_out}")));
    }
    if properties.contains_key(&key) {
        return Err(wrong(format!("`{key}` is given twice: leave one out")));
    }
    properties.insert(key, origin);
    Ok(())
}

fn absolute(path: &str) -> Result<PathBuf> {
    Ok(env::current_dir()?.join(path))
}

/// What is piped in, without the newline at its end.
fn piped(key: &str) -> Result<String> {
    const LARGEST: u64 = 1 << 20;
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(wrong(format!("`{key}` is read from a pipe: a terminal would show it")));
    }
    let mut text = String::new();
    stdin.lock().take(LARGEST + 1).read_to_string(&mut text).map_err(|_| wrong(format!("`{key}` is not UTF-8")))?;
    let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text.len() as u64 {
        0 => Err(wrong(format!("nothing is piped in for `{key}`"))),
        LARGEST.. => Err(wrong(format!("what is piped in for `{key}` is larger than 1 MiB"))),
        _ => Ok(text.to_owned()),
    }
}

fn show(clusters: &Clusters, name: Option<String>, online: bool, json: bool) -> Result<Exit> {
    let Some(name) = name.or_else(|| clusters.current.clone()) else {
        return Err(wrong("no cluster is the current one: name one, or `millstream clusters use` it"));
    };
    let connection = cluster::find(clusters, &name)?;
    let is_current = clusters.current.as_ref() == Some(&name);
    let asked = ask(&name);
    if json {
        let facts = asked.as_ref().ok().map(|(facts, topics)| facts_json(facts, *topics));
        let all = json!({
            "name": name,
            "current": is_current,
            "brokers": connection.brokers,
            "properties": connection.properties.iter().map(|(key, origin)| (key, origin_json(key, origin))).collect::<BTreeMap<_, _>>(),
            "cluster": facts,
        });
        print(&format!("{all}\n"))?;
    } else {
        let mut text = format!("{name}{}\n", if is_current { ", the current one" } else { "" });
        let keys = connection.properties.keys().map(String::len);
        let width = keys.max().unwrap_or(0).max("brokers".len());
        writeln!(text, "  {:width$}  {}", "brokers", connection.brokers.join(", "))?;
        for (key, origin) in &connection.properties {
            match origin {
                Origin::Written(value) if !is_secret(key) => writeln!(text, "  {key:width$}  {}", value.reveal())?,
                hidden => writeln!(text, "  {key:width$}  … from {hidden}")?,
            }
        }
        if let Ok((facts, topics)) = &asked {
            text += &facts_text(facts, *topics);
        }
        print(&text)?;
    }
    match asked {
        Ok(_) => Ok(Exit::Done),
        Err(error) if online => Err(error),
        Err(error) => {
            say(&format!("note: {error:#}\n"));
            Ok(Exit::Done)
        }
    }
}

/// What the cluster says of itself, and how many topics this user sees there.
fn ask(name: &str) -> Result<(ClusterFacts, usize)> {
    let log = Log::kafka(&cluster::fetch(name)?);
    let ask = || {
        let topics = log.topics()?;
        Ok((topics.cluster()?, topics.list()?.len()))
    };
    ask().map_err(explain(&log))
}

fn facts_text(facts: &ClusterFacts, topics: usize) -> String {
    let brokers = count(facts.brokers.len() as u64, "broker");
    let id = facts.id.as_ref().map_or_else(String::new, |id| format!("cluster {id}: "));
    let mut text = format!("{id}{brokers}, {}\n", count(topics as u64, "topic"));
    for broker in &facts.brokers {
        let role = if facts.controller == Some(broker.number) { "  controller" } else { "" };
        text += &format!("  {:>4}  {}{role}\n", broker.number, broker.address);
    }
    text
}

fn facts_json(facts: &ClusterFacts, topics: usize) -> Value {
    let mut value = json!(facts);
    value["topics"] = json!(topics);
    value
}

fn origin_json(key: &str, origin: &Origin) -> Value {
    match origin {
        Origin::Written(value) if !is_secret(key) => json!({"value": value.reveal()}),
        Origin::Written(_) => json!({"from": "clusters"}),
        Origin::Environment(name) => json!({"from": "env", "env": name}),
        Origin::File(path) => json!({"from": "file", "file": path}),
        Origin::Command(words) => json!({"from": "command", "command": words}),
    }
}
