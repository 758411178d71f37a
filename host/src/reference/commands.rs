//! The commands, as their help tells them.

use super::{code, table};
use crate::cli;
use clap::{Arg, Command};

/// A section for each command that does something.
pub(super) fn tell() -> String {
    let mut text = String::new();
    tell_one(&cli::commands(), "", &mut text);
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn tell_one(command: &Command, before: &str, text: &mut String) {
    let name = format!("{before}{}", command.get_name());
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        tell_one(inner, &format!("{name} "), text);
    }
    if command.has_subcommands() {
        return;
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    *text += &format!("### `{name}`\n\n{}\n\n", sentence(&about));
    let own = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let rows: Vec<_> = command.get_arguments().filter(own).map(|arg| [shown(arg), says(arg)]).collect();
    if !rows.is_empty() {
        *text += &table(["argument", "is"], rows.into_iter());
    }
    if let Some(after) = command.get_after_help() {
        let example = after.to_string();
        *text += &format!("\n```text\n{}\n```\n", example.trim_end());
    }
    text.push('\n');
}

/// As it is typed: `-n, --records <N>`.
fn shown(arg: &Arg) -> String {
    let values = || match arg.get_value_names() {
        Some(names) if arg.get_action().takes_values() => names.iter().map(|name| format!("<{name}>")).collect(),
        _ => Vec::new(),
    };
    let long = arg.get_long().map(|long| format!("--{long}"));
    let flags: Vec<String> = arg.get_short().map(|short| format!("-{short}")).into_iter().chain(long).collect();
    let text = [vec![flags.join(", ")], values()].concat().join(" ");
    code(text.trim())
}

fn says(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = sentence(&help);
    let words = arg.get_possible_values();
    let is_told = words.iter().all(|word| help.contains(word.get_name()));
    if arg.get_action().takes_values() && !is_told {
        let words: Vec<_> = words.iter().filter(|word| !word.is_hide_set()).map(|word| code(word.get_name())).collect();
        text += &format!(" One of {}.", words.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        text += &format!(" Default: {}.", defaults.join(", "));
    }
    text
}

/// Help is written without the dot at its end.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}
