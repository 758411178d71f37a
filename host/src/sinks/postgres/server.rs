//! Where a server is and how to get in, as libpq's connection strings say it.

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use std::{fmt, path::PathBuf, time::Duration};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// How long it may take to get in, unless the connection string says otherwise.
const CONNECT: Duration = Duration::from_secs(5);

/// A server, a database in it, and a user. Nothing of it shows in `Debug`.
#[derive(Clone)]
pub struct Server {
    config: Config,
    tls: Tls,
}

/// How far a server must prove who it is, as `sslmode` has it.
#[derive(Clone, Debug, Default)]
struct Tls {
    trust: Trust,
    /// Who vouches for it, in place of the system's authorities.
    root: Option<PathBuf>,
    /// What this client shows of itself: a certificate, and its key.
    own: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// Not at all.
    #[default]
    Nobody,
    /// It has a certificate of an authority.
    Authority,
    /// And that is for its name.
    Name,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("…")
    }
}

impl Server {
    /// Reads a connection string; what is wrong with it shows nothing of it.
    pub fn parse(url: &str) -> Result<Server, &'static str> {
        let (url, options) = take_ssl(url);
        let mut config: Config = url.parse().map_err(|_| "this is no connection string of PostgreSQL")?;
        let mut tls = Tls::default();
        let (mut certificate, mut key) = (None, None);
        let mut mode = None;
        for (name, value) in options {
            match name.as_str() {
                "sslrootcert" => tls.root = Some(value.into()),
                "sslcert" => certificate = Some(value.into()),
                "sslkey" => key = Some(value.into()),
                _ => mode = Some(value),
            }
        }
        let (ssl, trust) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, Trust::Nobody),
            Some("allow" | "prefer") => (SslMode::Prefer, Trust::Nobody),
            // What the client itself has read, as of `host=db sslmode=require`.
            None => (config.get_ssl_mode(), Trust::Nobody),
            // As libpq does: whoever names an authority wants it asked.
            Some("require") if tls.root.is_some() => (SslMode::Require, Trust::Authority),
            Some("require") => (SslMode::Require, Trust::Nobody),
            Some("verify-ca") => (SslMode::Require, Trust::Authority),
            Some("verify-full") => (SslMode::Require, Trust::Name),
            Some(_) => {
                return Err("its `sslmode` is none of `disable`, `prefer`, `require`, `verify-ca` and `verify-full`");
            }
        };
        tls.trust = trust;
        tls.own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("`sslcert` and `sslkey` belong together in it"),
        };
        config.ssl_mode(ssl);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_hosts().is_empty() {
            return Err("it names no host");
        }
        // It is behind the first `@` for the client, and what it takes for the host is shown.
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err("an `@` in its password is written `%40`");
        }
        if config.get_user().is_none() {
            return Err("it names no user");
        }
        Ok(Server { config, tls })
    }

    /// How a session is begun, as a client of this name.
    pub(super) fn config(&self, application: &str) -> Config {
        let mut config = self.config.clone();
        if config.get_application_name().is_none() {
            config.application_name(application);
        }
        config
    }

    /// How long it may take to get in.
    pub(super) fn patience(&self) -> Duration {
        let each = self.config.get_connect_timeout().copied().unwrap_or(CONNECT);
        each * u32::try_from(self.config.get_hosts().len()).unwrap_or(1).max(1)
    }

    /// What keeps others from listening.
    pub(super) fn tls(&self) -> Result<MakeTlsConnector, String> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| error.to_string())?;
        let Tls { trust, root, own } = &self.tls;
        let files = root.iter().chain(own.iter().flat_map(|(certificate, key)| [certificate, key]));
        if let Some(missing) = files.into_iter().find(|file| !file.exists()) {
            return Err(format!("there is no file {}, which its `url` names for TLS", missing.display()));
        }
        match root {
            Some(root) => builder
                .set_ca_file(root)
                .map_err(|error| format!("the authorities in {} cannot be read: {error}", root.display()))?,
            None => {
                let found = openssl_probe::probe();
                let is_text = |path: &PathBuf| path.to_str().is_some(); // others would be a panic there
                // What is missing shows when a server is not believed.
                for file in found.cert_file.iter().filter(|path| is_text(path)) {
                    builder.load_verify_locations(Some(file), None).ok();
                }
                for folder in found.cert_dir.iter().filter(|path| is_text(path)) {
                    builder.load_verify_locations(None, Some(folder)).ok();
                }
            }
        }
        if let Some((certificate, key)) = own {
            builder
                .set_certificate_chain_file(certificate)
                .and_then(|()| builder.set_private_key_file(key, openssl::ssl::SslFiletype::PEM))
                .map_err(|error| {
                    format!("the certificate {} or its key cannot be read: {error}", certificate.display())
                })?;
        }
        builder.set_verify(if *trust == Trust::Nobody { SslVerifyMode::NONE } else { SslVerifyMode::PEER });
        let mut tls = MakeTlsConnector::new(builder.build());
        if *trust != Trust::Name {
            tls.set_callback(|session, _| {
                session.set_verify_hostname(false);
                Ok(())
            });
        }
        Ok(tls)
    }

    /// Its address, as messages show it.
    pub(super) fn address(&self) -> String {
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        hosts.collect::<Vec<_>>().join(", ")
    }
}

/// Takes out of a URL what the client does not know of TLS.
fn take_ssl(url: &str) -> (String, Vec<(String, String)>) {
    // In front of the `@` it may be of a password.
    let behind = url.find('@').unwrap_or_default();
    let Some(at) = url[behind..].find('?').map(|at| behind + at).filter(|_| url.contains("://")) else {
        return (url.to_owned(), Vec::new());
    };
    let (start, query) = (&url[..at], &url[at + 1..]);
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    for part in query.split('&') {
        match part.split_once('=') {
            Some((name @ ("sslmode" | "sslrootcert" | "sslcert" | "sslkey"), value)) => {
                taken.push((name.to_owned(), percent_decoded(value)));
            }
            _ => kept.push(part),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    (format!("{start}{query}"), taken)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_is_read_as_libpq_reads_it() {
        let server =
            Server::parse("postgres://shop:geheim@db.example:5433/shop?sslmode=verify-full&sslrootcert=/a%20b")
                .unwrap();
        assert_eq!(server.address(), "db.example:5433");
        assert_eq!((server.tls.trust, server.tls.root.clone()), (Trust::Name, Some("/a b".into())));
        assert_eq!(server.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(format!("{server:?}"), "…");
        let server = Server::parse("host=a,b user=me port=1,2").unwrap();
        assert_eq!(server.address(), "a:1, b:2");
        assert_eq!(server.config.get_ssl_mode(), SslMode::Prefer);
        for url in ["host=db user=me sslmode=require", "postgres://me:a?b=c@db/x?sslmode=require"] {
            assert_eq!(Server::parse(url).unwrap().config.get_ssl_mode(), SslMode::Require, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_one_shows_nothing_of_it() {
        for wrong in [
            "nonsense",
            "postgres://",
            "mysql://me:geheim@db/x",
            "postgres://u@h/d?sslmode=geheim",
            "host=a",
            "postgres://me:geheim@h/?port=geheim",
            "postgres://me:ge@geheim@h/x",
        ] {
            let why = Server::parse(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
            assert!(!why.contains("geheim"), "{why}");
        }
    }
}
