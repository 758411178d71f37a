//! What a module may reach: looked at when the manifest is read, as a folder that is not there would be missed only by
//! the first record that needs it.

use super::{
    check::Surroundings,
    checked::{Allow, Secret},
    shapes::Spanned,
    written,
};
use crate::wasm::{Folder, Site};
use std::{fs, io};

impl Surroundings<'_> {
    pub(super) fn allow(&self, written: Option<&written::Allow>) -> Allow {
        let mut allow = Allow::default();
        let Some(written) = written else { return allow };
        for (name, value) in written.env.iter() {
            if name.value.is_empty() || name.value.contains(['=', '\0']) {
                self.findings.mistake(&name.at, || {
                    let what = match name.value.is_empty() {
                        true => "a variable has no name".to_owned(),
                        false => format!("{} is no name for a variable", name.shown()),
                    };
                    (what, "write a name such as `TZ`, without `=`".to_owned())
                });
            }
            allow.env.insert(name.value.clone(), Secret::from(value.clone()));
        }
        for (name, access) in written.dirs.iter() {
            let path = self.folder.join(&name.value);
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() && !name.value.is_empty() => {}
                found => self.findings.mistake(&name.at, || no_folder(name, found.map(|found| found.is_dir()))),
            }
            let writable = matches!(access, written::Access::Write);
            allow.dirs.push(Folder { name: name.value.clone(), path, writable });
        }
        for host in &written.http {
            match Site::read(&host.value) {
                Some(site) => allow.http.push(site),
                None => self.findings.mistake(&host.at, || no_host(host)),
            }
        }
        allow
    }
}

/// What to write instead of a host that is none. Most likely it is the address of something on it.
fn no_host(host: &Spanned<String>) -> (String, String) {
    let (_, rest) = host.value.split_once("://").unwrap_or(("", &host.value));
    let within = rest.split('/').next().and_then(Site::read);
    let help = match within {
        Some(site) => format!("write `{site}`: a host is allowed for http and https, and with all its paths"),
        None => "write a name such as `api.example.com`, `api.example.com:8443` or `*.example.com`".to_owned(),
    };
    (format!("{} is no host", host.shown()), help)
}

/// What is wrong with the folder: found, but a file, or not found.
fn no_folder(name: &Spanned<String>, found: io::Result<bool>) -> (String, String) {
    let shown = name.shown();
    match found {
        Ok(true) => ("a folder has no name".into(), "write `.` for the manifest's own folder".into()),
        Ok(false) => (format!("{shown} is not a folder"), "name the folder that it lies in".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            format!("there is no folder {shown}"),
            "make it, or correct the path: it starts in the manifest's folder".into(),
        ),
        Err(error) => (format!("{shown} cannot be used: {}", error.kind()), "let this user read it".into()),
    }
}
