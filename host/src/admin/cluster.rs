//! The log that a host runs on, as it is seen and as topics are made there.

use super::{Admin, routes::Answer};
use crate::{
    manifest::check_topic_name,
    transport::log::{Log, NewTopic, Unanswered},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A topic that is asked for. What is not said is left to the log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    topic: String,
    partitions: Option<u32>,
    replication: Option<u16>,
    #[serde(default)]
    config: BTreeMap<String, Setting>,
}

/// A setting's value, in quotes or without.
#[derive(Deserialize)]
#[serde(untagged)]
enum Setting {
    Text(String),
    Number(i64),
    Truth(bool),
}

/// The brokers, the controller and the topics.
pub(super) fn show(admin: &Admin) -> Answer {
    let ask = || {
        let topics = admin.log.topics()?;
        anyhow::Ok((topics.cluster()?, topics.list()?))
    };
    let (facts, topics) = match ask() {
        Ok(answers) => answers,
        Err(error) => return silent(admin, &error),
    };
    let mut value = json!(facts);
    value["log"] = json!(admin.log.to_string());
    value["kind"] = json!(match admin.log {
        Log::Kafka(_) => "kafka",
        Log::Local(_) => "embedded",
    });
    let row = |(name, facts): (&String, &crate::transport::log::TopicFacts)| json!({"topic": name, "partitions": facts.partitions, "replication": facts.replication});
    value["topics"] = topics.iter().map(row).collect::<Vec<Value>>().into();
    Answer::json(&value)
}

/// Makes a topic, by the rules of `topics create`.
pub(super) fn make_topic(admin: &Admin, body: &[u8]) -> Answer {
    let invalid = |why: &str| Answer::error(StatusCode::BAD_REQUEST, "invalid", why);
    let wanted: Wanted = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(error) => {
            let form = "write a topic, such as {\"topic\": \"orders\", \"partitions\": 4, \"config\": {\"retention.ms\": \"-1\"}}";
            return invalid(&format!("{error}: {form}"));
        }
    };
    if let Err(why) = check_topic_name(&wanted.topic) {
        return invalid(&why);
    }
    if wanted.partitions == Some(0) || wanted.replication == Some(0) {
        return invalid("a topic has at least one partition, and one replica of each");
    }
    let text = |setting| match setting {
        Setting::Text(text) => text,
        Setting::Number(number) => number.to_string(),
        Setting::Truth(truth) => truth.to_string(),
    };
    let topic = NewTopic {
        name: wanted.topic,
        partitions: wanted.partitions,
        replication: wanted.replication,
        config: wanted.config.into_iter().map(|(key, value)| (key, text(value))).collect(),
        has_brokers_time: false,
    };
    let topics = match admin.log.topics() {
        Ok(topics) => topics,
        Err(error) => return silent(admin, &error),
    };
    match topics.create(&topic) {
        Ok(true) => {
            tracing::info!("topic {} made{}, as was asked of the admin API", topic.name, topic.shape());
            Answer::made(&json!({"created": topic.name}))
        }
        Ok(false) => {
            let why = format!("topic {} is there already", topic.name);
            Answer::error(StatusCode::CONFLICT, "conflict", &why)
        }
        Err(error) if error.is::<Unanswered>() || topics.list().is_err() => silent(admin, &error),
        Err(error) => Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "refused", &format!("{error:#}")),
    }
}

fn silent(admin: &Admin, error: &anyhow::Error) -> Answer {
    Answer::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &format!("{}: {error:#}", admin.log))
}
