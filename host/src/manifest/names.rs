//! The rules for names: of pipelines and stages, of topics, of brokers. Each gives what is wrong and the way out.

/// What is wrong with a name, and the way out.
pub(super) type Wrong = (String, String);

const LONGEST_NAME: usize = 80;
const LONGEST_TOPIC: usize = 249;

/// Names of pipelines and stages become parts of topics, groups and folders.
pub(super) fn check_name(name: &str, shown: &str) -> Result<(), Wrong> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let way_out = "write ASCII letters, digits, `-` and `_`";
    if name.is_empty() {
        Err(("a name cannot be empty".to_owned(), way_out.to_owned()))
    } else if !name.chars().all(is_plain) {
        Err((format!("{shown} cannot be a name"), way_out.to_owned()))
    } else if name.len() > LONGEST_NAME {
        Err((format!("this name has {} characters", name.len()), format!("take at most {LONGEST_NAME}")))
    } else {
        Ok(())
    }
}

/// Kafka's rules.
pub(super) fn check_topic(topic: &str, shown: &str) -> Result<(), Wrong> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let way_out = "Kafka takes ASCII letters, digits, `.`, `-` and `_`";
    if topic.is_empty() {
        Err(("a topic's name cannot be empty".to_owned(), way_out.to_owned()))
    } else if matches!(topic, "." | "..") || !topic.chars().all(is_plain) {
        Err((format!("{shown} cannot be a topic's name"), way_out.to_owned()))
    } else if topic.len() > LONGEST_TOPIC {
        Err((
            format!("this topic's name has {} characters", topic.len()),
            format!("Kafka takes at most {LONGEST_TOPIC}"),
        ))
    } else {
        Ok(())
    }
}

/// `HOST` or `HOST:PORT`, the host in brackets when it has colons itself; librdkafka takes a protocol before it.
pub(super) fn check_broker(broker: &str, shown: &str) -> Result<(), Wrong> {
    let way_out = "write `HOST:PORT`, such as `localhost:9092`".to_owned();
    if broker.is_empty() {
        return Err(("a broker's address cannot be empty".to_owned(), way_out));
    }
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !address.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let host_is_good = !host.is_empty()
        && !host.contains(|c: char| c.is_whitespace() || c == '/')
        && (!host.contains(':') || host.starts_with('['));
    let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if host_is_good && port_is_good {
        return Ok(());
    }
    Err((format!("{shown} is no address of a broker"), way_out))
}
