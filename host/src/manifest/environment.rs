//! `${VAR}` in values. What comes from the environment is marked, so that no message ever shows it.

use super::{
    Environment,
    report::{Diagnostic, Findings, Span},
};

/// A text with the environment put in.
pub(super) struct Expanded {
    pub(super) text: String,
    /// Something of it stands for more than is written.
    pub(super) from_environment: bool,
    /// Something is missing, and reported.
    pub(super) broken: bool,
}

/// Puts in `${V}`, `${V:-default}` and `${V:?message}`, and makes `$$` a `$`. Any other `$` stays.
pub(super) fn expand(
    source: &str,
    span: &Span,
    text: &str,
    environment: Environment<'_>,
    findings: &Findings,
) -> Expanded {
    let mut expanded = Expanded { text: String::new(), from_environment: false, broken: false };
    let mut searched = span.start;
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.text += &rest[..dollar];
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$$") {
            expanded.text.push('$');
            rest = after;
        } else if rest.starts_with("${") {
            let written = match rest.find('}') {
                Some(end) => &rest[..=end],
                None => rest,
            };
            rest = &rest[written.len()..];
            expanded.from_environment = true;
            let at = place(source, span, searched, written);
            searched = at.end;
            match value(written, at, environment) {
                Ok(value) => expanded.text += &value,
                Err(mistake) => {
                    findings.add(mistake);
                    expanded.broken = true;
                }
            }
        } else {
            expanded.text.push('$');
            rest = &rest[1..];
        }
    }
    expanded.text += rest;
    expanded
}

/// What one `${…}` stands for, or what is wrong with it and the way out.
fn value(written: &str, at: Span, environment: Environment<'_>) -> Result<String, Diagnostic> {
    let literal = "write `$$` for a `$` that stands for itself";
    let Some(inside) = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Err(Diagnostic::mistake(at, "this `${` has no `}`").help(literal));
    };
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, form) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Diagnostic::mistake(at, "this `${…}` names no variable of the environment").help(literal));
    }
    let set = environment(name);
    let filled = set.clone().filter(|value| !value.is_empty());
    if form.is_empty() {
        set.ok_or_else(|| {
            Diagnostic::absence(at, format!("the environment has no `{name}`"))
                .help(format!("set it, or give a default: `${{{name}:-…}}`"))
        })
    } else if form.contains("${") {
        Err(Diagnostic::mistake(at, "a `${…}` cannot stand inside another one").help("write the default out"))
    } else if let Some(default) = form.strip_prefix(":-") {
        Ok(filled.unwrap_or_else(|| default.to_owned()))
    } else if let Some(message) = form.strip_prefix(":?") {
        filled.ok_or_else(|| {
            let message = if message.is_empty() { "it must be set and not empty" } else { message };
            Diagnostic::absence(at, format!("`{name}` in the environment: {message}")).help(format!("set `{name}`"))
        })
    } else {
        Err(Diagnostic::mistake(at, format!("what follows `${{{name}` here is not known"))
            .help(format!("write `${{{name}}}`, `${{{name}:-default}}` or `${{{name}:?message}}`")))
    }
}

/// Where it stands inside of its text; the whole text when an escape hides it.
fn place(source: &str, span: &Span, searched: usize, written: &str) -> Span {
    match source.get(searched..span.end).and_then(|text| text.find(written)) {
        Some(found) => searched + found..searched + found + written.len(),
        None => span.clone(),
    }
}
