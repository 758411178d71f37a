//! What must not be shown of a manifest: excerpts are taken from a copy of its text in which this is starred.

use super::{
    report::Span,
    tree::{Content, Node},
};

/// Words in a key that make its value secret. (`ssl.key.pem` holds a key, `sasl.jaas.config` a password.)
const SECRET: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "jaas",
    "oauthbearer.config",
    ".pem",
    "keystore.key",
    "api-key",
    "apikey",
];

/// True when what stands under this key must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('_', "-");
    SECRET.iter().any(|word| key.contains(word))
}

/// Where the first word in a line ends that makes what follows secret.
fn secret_key_end(line: &str) -> Option<usize> {
    let line = line.to_ascii_lowercase().replace('_', "-");
    SECRET.iter().filter_map(|word| Some(line.find(word)? + word.len())).min()
}

/// Marks the nodes that messages must not show, and returns their places.
pub(super) fn mark(root: &mut Node) -> Vec<Span> {
    let mut hidden = Vec::new();
    mark_below(root, "", false, &mut hidden);
    hidden
}

/// How a database is reached, with a password in it.
fn is_connection(above: &str, key: &str) -> bool {
    matches!((above, key), ("postgres", "url") | ("mongodb", "uri"))
}

fn mark_below(node: &mut Node, above: &str, secret: bool, hidden: &mut Vec<Span>) {
    node.secret = secret;
    match &mut node.content {
        // `${VAR}` shows nothing of what it stands for; what stands around it might.
        Content::Scalar(_) if secret => hidden.push(node.span.clone()),
        Content::Scalar(_) => {}
        Content::List(items) => {
            for item in items {
                mark_below(item, above, secret, hidden);
            }
        }
        Content::Map(map) => {
            for entry in &mut map.entries {
                let key = entry.key.borrow().clone();
                // `{file: …}` says where the secret lies, not what it is.
                let names_origin = secret && ["file", "env", "command"].contains(&key.as_str());
                if secret && !names_origin {
                    hidden.push(entry.key_span.clone());
                }
                let is_secret = secret || is_secret(&key) || is_connection(above, &key);
                mark_below(&mut entry.value, &key, is_secret && !names_origin, hidden);
            }
        }
    }
}

/// The same where the text is no YAML and no tree tells: from such a key to the end of its line, and the lines below
/// that are indented further.
pub(super) fn in_broken_text(source: &str) -> Vec<Span> {
    let mut hidden = Vec::new();
    let mut start = 0;
    let mut under: Option<usize> = None;
    for line in source.split_inclusive('\n') {
        let text = line.trim_end();
        let indent = text.len() - text.trim_start().len();
        let colon = secret_key_end(text).and_then(|end| Some(end + text[end..].find(':')?));
        if under.is_some_and(|key_indent| indent > key_indent) && !text.is_empty() {
            hidden.push(start + indent..start + text.len());
        } else if let Some(colon) = colon {
            let value = text[colon + 1..].trim_start();
            hidden.push(start + text.len() - value.len()..start + text.len());
            under = Some(indent);
        } else if !text.is_empty() {
            under = None;
        }
        start += line.len();
    }
    hidden
}

/// The text without what is hidden: stars, as many bytes as before, so that places hold. Passwords in URLs go too.
pub(super) fn starred(source: &str, hidden: &[Span]) -> String {
    let mut shown = source.to_owned().into_bytes();
    for span in hidden.iter().filter(|span| !only_environment(&source[(*span).clone()])) {
        star(&mut shown[span.clone()]);
    }
    for span in passwords_in_urls(source) {
        star(&mut shown[span]);
    }
    String::from_utf8(shown).expect("whole characters were replaced by ASCII")
}

fn star(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        *byte = b'*';
    }
}

/// `${VAR}` and nothing else: there is nothing in it to hide, and the reader wants to see it.
fn only_environment(written: &str) -> bool {
    let inside = written.trim_matches(['"', '\'']).strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// The password of each `scheme://user:password@host`.
fn passwords_in_urls(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    for (scheme_end, separator) in text.match_indices("://") {
        let start = scheme_end + separator.len();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',');
        let url = &text[start..start + text[start..].find(is_end).unwrap_or(text.len() - start)];
        let Some(at) = url.rfind('@') else { continue };
        let Some(colon) = url[..at].find(':') else {
            continue;
        };
        if !only_environment(&url[colon + 1..at]) {
            found.push(start + colon + 1..start + at);
        }
    }
    found
}
