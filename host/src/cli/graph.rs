//! `graph`: what runs between which topics, as a drawing.

use super::{
    Exit, Mistakes,
    host::Hosts,
    load::{Source, read},
    print, terminal,
};
use crate::{
    manifest::{Manifest, Port},
    text::grouped,
};
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;

/// Draw what runs between which topics, in Mermaid's words
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream graph pipeline.yaml > pipeline.mmd
  millstream graph pipeline.yaml --live     (with the rates of a running host)")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// With the state and the rates of a running host
    #[arg(long, env = "MILLSTREAM_LIVE")]
    live: bool,
    #[command(flatten)]
    hosts: Hosts,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let (manifest, _) = read(&arguments.source)?.finish().map_err(|report| Mistakes(report.render(terminal())))?;
    let status = if arguments.live { Some(arguments.hosts.one()?.get("/v1/status")?) } else { None };
    print(&draw(&manifest, status.as_ref()))?;
    Ok(Exit::Done)
}

/// Topics are round, what runs has corners.
fn draw(manifest: &Manifest, status: Option<&Value>) -> String {
    let mut drawing = Drawing { text: "flowchart LR\n".to_owned(), topics: BTreeMap::new(), status };
    for source in &manifest.sources {
        drawing.part(&source.name, "source", &[], &source.outputs, None);
    }
    for stage in &manifest.stages {
        let letters = stage.on_error.has_dead_letters().then_some(stage.dead_letter.as_str());
        drawing.part(&stage.name, "stage", &stage.inputs, &stage.outputs, letters);
    }
    for sink in &manifest.sinks {
        let letters = sink.on_error.has_dead_letters().then_some(sink.dead_letter.as_str());
        drawing.part(&sink.name, "sink", &sink.inputs, &[], letters);
    }
    drawing.text
}

struct Drawing<'a> {
    text: String,
    /// What each topic is called in the drawing.
    topics: BTreeMap<String, String>,
    status: Option<&'a Value>,
}

impl Drawing<'_> {
    fn part(&mut self, name: &str, kind: &str, inputs: &[Port], outputs: &[Port], letters: Option<&str>) {
        let live = self.status.and_then(|status| {
            let parts = status["stages"].as_array()?;
            let part = parts.iter().find(|part| part["name"] == name)?;
            let (state, rate) = (part["state"].as_str()?, part["rate"].as_u64()?);
            Some(format!("<br>{state}, {}/s", grouped(rate)))
        });
        // Names of sources, stages and sinks are one set, and have no sign that means something here.
        self.text += &format!("  {kind}-{name}[\"{name}{}\"]\n", live.unwrap_or_default());
        for port in inputs {
            let topic = self.topic(&port.topic);
            self.text += &format!("  {topic} --> {kind}-{name}\n");
        }
        for (place, port) in outputs.iter().enumerate() {
            let topic = self.topic(&port.topic);
            // The first takes all that name none, and needs no word.
            let word = if place == 0 { String::new() } else { format!("|{}|", port.name) };
            self.text += &format!("  {kind}-{name} -->{word} {topic}\n");
        }
        if let Some(letters) = letters {
            let topic = self.topic(letters);
            self.text += &format!("  {kind}-{name} -.-> {topic}\n");
        }
    }

    fn topic(&mut self, name: &str) -> String {
        let number = self.topics.len();
        let text = &mut self.text;
        let known = self.topics.entry(name.to_owned()).or_insert_with(|| {
            let id = format!("topic{number}");
            *text += &format!("  {id}([\"{name}\"])\n");
            id
        });
        known.clone()
    }
}
