//! The page that tells every key, command, metric and header. It is made from the code, and this holds it to that:
//! `UPDATE=1` writes it anew.

mod commands;
mod keys;

use crate::{
    admin::METRICS,
    stage::{LETTER_HEADERS, LETTER_PREFIX, ORIGIN_HEADERS, ORIGIN_PREFIX},
};
use serde_json::Value;
use std::{env, fs, path::Path};

const BEGIN: &str = "# Reference

Every key of the manifest, every command, every metric and every header. This page is made from the code
(`UPDATE=1 cargo test reference` writes it anew); the [guide](guide.md) tells how they go together, [operations](operations.md)
what failures look like, and [the interface of a module](wit.md) what a function is handed and may give back.
";

#[test]
fn the_page_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let page = page();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let line = page.lines().zip(there.lines()).find(|(code, page)| code != page);
    assert!(there == page, "docs/reference.md is not what the code says (UPDATE=1 rewrites it): {line:?}");
}

fn page() -> String {
    let sections = [
        BEGIN.to_owned(),
        "## The manifest\n\nOne YAML document. Where a value is one word, `${NAME}` in it is put in from the environment, \
         `${NAME:-default}` and `${NAME:?message}` too; `$$` is a dollar. An unknown key is refused.\n"
            .to_owned(),
        keys::tell(),
        "## The commands\n\nResults go to stdout, all else to stderr. Exit codes: 0 done, 1 failed while running, 2 what was \
         asked is wrong, 3 there were dead letters and `--fail-on-dead-letter` was given. A flag may also be set by a \
         variable: `--kafka` by `MILLSTREAM_KAFKA`, `--until-idle` by `MILLSTREAM_UNTIL_IDLE`.\n"
            .to_owned(),
        commands::tell(),
        api(),
        metrics(),
        headers(),
    ];
    sections.join("\n")
}

fn api() -> String {
    let api: Value = serde_json::from_str(include_str!("../admin/openapi.json")).expect("it is JSON");
    let mut rows = Vec::new();
    for (path, methods) in api["paths"].as_object().into_iter().flatten() {
        for (method, asked) in methods.as_object().into_iter().flatten() {
            let Some(summary) = asked["summary"].as_str() else { continue };
            rows.push([
                code(&format!("{} {path}", method.to_uppercase())),
                format!("{}.", summary.trim_end_matches('.')),
            ]);
        }
    }
    let begin = "## The admin API\n\nOf a running host, at the address that it says. `/v1/openapi.json` has all that is asked and \
                 answered; what steers needs a token.\n\n";
    begin.to_owned() + &table(["request", "does"], rows.into_iter())
}

fn metrics() -> String {
    let rows = METRICS.iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| code(label)).collect::<Vec<_>>().join(", ");
        [code(metric.name), metric.kind.to_owned(), labels, metric.help.to_owned()]
    });
    let begin = "## The metrics\n\nAt `/metrics` of the admin address, in the text format of Prometheus. Sinks are counted as \
                 stages are.\n\n";
    begin.to_owned() + &table(["metric", "type", "labels", "says"], rows)
}

fn headers() -> String {
    let names = |prefix: &str, headers: &[(&str, &str)]| {
        let rows = headers.iter().map(|(name, means)| [code(&format!("{prefix}{name}")), (*means).to_owned()]);
        table(["header", "says"], rows)
    };
    format!(
        "## The headers\n\nA dead letter has its record's own headers, and behind them these; text in UTF-8, numbers in \
         decimal.\n\n{}\nWith `provenance: true`, what a stage writes has these behind its own:\n\n{}",
        names(LETTER_PREFIX, &LETTER_HEADERS),
        names(ORIGIN_PREFIX, &ORIGIN_HEADERS)
    )
}

/// A table of Markdown.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let cell = |text: String| text.replace('\n', " ").replace('|', "\\|");
    let mut text = line(&head.map(str::to_owned)) + &line(&head.map(|_| "---".to_owned()));
    rows.for_each(|row| text += &line(&row.map(cell)));
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
