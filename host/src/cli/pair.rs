//! `KEY=VALUE`, as `--config` has it.

use super::wrong;
use anyhow::Result;
use std::collections::BTreeMap;

/// One of them.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write a pair: `KEY=VALUE`")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// All of them; which of two would count, nobody should have to know.
pub(super) fn once(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (key, value) in pairs {
        if all.contains_key(&key) {
            return Err(wrong(format!("`--config {key}` is given twice: leave one out")));
        }
        all.insert(key, value);
    }
    Ok(all)
}
