//! What is said about a text that is no YAML: the two mistakes that everybody makes get words of their own.

use super::report::{Diagnostic, Findings};
use granit_parser::ScanError;

/// Reports why the text could not be read on, and returns from where.
pub(super) fn report(source: &str, error: &ScanError, findings: &Findings) -> usize {
    let at = floor_char(source, error.marker().byte_offset().unwrap_or(source.len()));
    let line_start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    findings.add(match tab_near(source, line_start) {
        Some(tab) => Diagnostic::mistake(tab..tab + 1, "a tab indents this line")
            .help("indent with spaces; what follows was not checked"),
        None => {
            let width = source[at..].chars().next().map_or(0, char::len_utf8);
            Diagnostic::mistake(at..at + width, format!("this is not YAML: {}", error.info()))
                .help(way_out(source, line_start))
        }
    });
    at
}

/// The parser speaks of a tab in this line or only when it is past it.
fn tab_near(source: &str, line_start: usize) -> Option<usize> {
    let mut start = line_start;
    for line in source[line_start..].split_inclusive('\n').take(2) {
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(tab) = indent.find('\t') {
            return Some(start + tab);
        }
        start += line.len();
    }
    None
}

fn way_out(source: &str, line_start: usize) -> &'static str {
    let line = source[line_start..].lines().next().unwrap_or("");
    if line.contains("${") {
        "inside `{ }` and `[ ]`, write \"${VAR}\" with quotes; what follows was not checked"
    } else {
        "a text that has `: `, ` #` or starts with one of `{[*&!|>%@` needs quotes; what follows was not checked"
    }
}

/// The start of the character that this byte belongs to.
pub(super) fn floor_char(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}
