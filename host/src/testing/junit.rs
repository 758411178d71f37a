//! The report that build servers read.

use super::{Line, Verdict};
use std::fmt::Write;

/// The cases of one file, as they went.
pub struct Suite<'a> {
    /// The file.
    pub name: &'a str,
    /// The cases by their names, with the seconds that each took.
    pub cases: Vec<(&'a str, &'a Verdict, f64)>,
}

/// All files as one JUnit XML document.
pub fn report(suites: &[Suite<'_>]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for suite in suites {
        let (tests, failures) = (suite.cases.len(), suite.cases.iter().filter(|case| !case.1.is_good()).count());
        let name = escaped(suite.name);
        let _ = writeln!(xml, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">");
        for (case, verdict, seconds) in &suite.cases {
            let _ = write!(xml, "    <testcase classname=\"{name}\" name=\"{}\" time=\"{seconds:.3}\"", escaped(case));
            if verdict.is_good() {
                xml += "/>\n";
                continue;
            }
            let lines: Vec<_> = verdict.lines.iter().map(Line::to_string).collect();
            let _ = writeln!(
                xml,
                ">\n      <failure message=\"what came is not what was expected\">{}</failure>\n    </testcase>",
                escaped(&lines.join("\n"))
            );
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

/// Text as XML has it; what XML cannot have at all is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
