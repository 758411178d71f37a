//! Why a cluster cannot be reached, in a line for people, made of what the library says to its authors.

use super::settings::Cluster;
use openssl::{
    ssl::{HandshakeError, SslConnector, SslMethod, SslVerifyMode},
    x509::{X509, X509Ref, X509VerifyResult},
};
use std::{
    net::{IpAddr, TcpStream, ToSocketAddrs},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a look at a certificate may take.
const LOOK: Duration = Duration::from_secs(2);
/// The names of a certificate that are shown.
const NAMES_SHOWN: usize = 3;

/// The library's reason without what only its authors know:
/// `host:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)`.
pub(super) fn plain(cluster: &Cluster, said: &str) -> String {
    let (said, state) = said.split_once(" (after ").unwrap_or((said, ""));
    let said = said.replace("/bootstrap", "").replace("ipv4#", "").replace("ipv6#", "");
    if let Some((address, why)) = said.split_once(": Connect to ").and_then(|(_, rest)| rest.split_once(" failed: ")) {
        return format!("cannot connect to {address}: {why}");
    }
    let (broker, why) = said.split_once(": ").unwrap_or(("", &said));
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    let holds = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if holds(&["certificate verify failed"]) {
        return distrusted(cluster, address);
    }
    let refusals = [
        "alert certificate required",
        "client SSL authentication might be required",
        "alert bad certificate",
        "alert unknown ca",
        "alert certificate unknown",
        "alert certificate expired",
    ];
    if holds(&refusals) {
        let own = ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"];
        // Brokers have one word for a certificate that they do not like and for none.
        return match own.iter().any(|name| cluster.properties.contains_key(*name)) {
            true => format!("{address} does not trust this client's certificate: see `ssl.certificate.location`"),
            false => format!(
                "{address} wants a certificate of this client: set `ssl.certificate.location` and `ssl.key.location`"
            ),
        };
    }
    // Whoever hangs up amid the handshake does not know what it is; the library guesses so in one of three cases alone.
    let hung_up = why.starts_with("Disconnected") && state.contains("in state SSL_HANDSHAKE");
    if hung_up || holds(&["PLAINTEXT broker listener?", "wrong version number", "packet length too long"]) {
        return format!("{address} does not speak TLS there: is `security.protocol` right?");
    }
    if holds(&["broker might require SASL"]) {
        return format!("{address} ends the connection: is `security.protocol` right? It may want a user");
    }
    if holds(&["Request not valid in current SASL state"]) {
        return format!("{address} asks nobody for a user there: is `security.protocol` right?");
    }
    if let Some(words) = why.strip_prefix("SASL authentication error: ") {
        return format!("{address} does not let this user in: {words}");
    }
    if address.is_empty() { said } else { format!("{address}: {why}") }
}

/// Why a broker's certificate is not trusted. The library does not say, so it is looked at once more.
fn distrusted(cluster: &Cluster, address: &str) -> String {
    let found = look(cluster, address);
    let is_of_others = |result: &X509VerifyResult| {
        let words = result.error_string();
        words.contains("ostname mismatch") || words.contains("IP address mismatch")
    };
    match found {
        Some((result, names)) if is_of_others(&result) && !names.is_empty() => {
            let (shown, more) = (names[..names.len().min(NAMES_SHOWN)].join(", "), names.len() > NAMES_SHOWN);
            let more = if more { " and others" } else { "" };
            format!("{address} shows a certificate for {shown}{more}, and not for the name that it is called by here")
        }
        Some((result, _)) => format!(
            "{address} shows a certificate that is not trusted: {}; `ssl.ca.location` says whose word counts",
            result.error_string()
        ),
        None => format!("{address} shows a certificate that is not trusted: `ssl.ca.location` says whose word counts"),
    }
}

/// What is wrong with the certificate, and the names that it is for.
fn look(cluster: &Cluster, address: &str) -> Option<(X509VerifyResult, Vec<String>)> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).ok()?;
    if let Some(location) = cluster.properties.get("ssl.ca.location") {
        match Path::new(location).is_dir() {
            true => builder.load_verify_locations(None, Some(location.as_ref())).ok()?,
            false => builder.set_ca_file(location).ok()?,
        }
    }
    if let Some(pem) = cluster.properties.get("ssl.ca.pem") {
        for certificate in X509::stack_from_pem(pem.as_bytes()).ok()? {
            builder.cert_store_mut().add_cert(certificate).ok()?;
        }
    }
    // Once it has failed, the certificate is not to be had any more.
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let sees = seen.clone();
    builder.set_verify_callback(SslVerifyMode::PEER, move |is_good, chain| {
        if chain.error_depth() == 0
            && let Some(certificate) = chain.current_cert()
        {
            *sees.lock().unwrap_or_else(PoisonError::into_inner) = names(certificate);
        }
        is_good
    });
    let place = address.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&place, LOOK).ok()?;
    stream.set_read_timeout(Some(LOOK)).ok()?;
    stream.set_write_timeout(Some(LOOK)).ok()?;
    let (host, _) = address.rsplit_once(':')?;
    match builder.build().connect(host.trim_matches(['[', ']']), stream) {
        Err(HandshakeError::Failure(stream)) if stream.ssl().verify_result() != X509VerifyResult::OK => {
            Some((stream.ssl().verify_result(), seen.lock().unwrap_or_else(PoisonError::into_inner).clone()))
        }
        _ => None,
    }
}

/// Those that a certificate is for.
fn names(certificate: &X509Ref) -> Vec<String> {
    let address = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d]).to_string()),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
    };
    let names = certificate.subject_alt_names().into_iter().flatten();
    let name = |name: openssl::x509::GeneralName| {
        name.dnsname().map(str::to_owned).or_else(|| name.ipaddress().and_then(address))
    };
    names.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_is_one_line_for_people() {
        let cluster = Cluster { brokers: String::new(), properties: Default::default() };
        for (said, expected) in [
            (
                "localhost:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
                "cannot connect to 127.0.0.1:1: Connection refused",
            ),
            (
                "sasl_plaintext://a:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or \
                 password (after 312ms in state AUTH_REQ, 2 identical error(s) suppressed)",
                "a:1 does not let this user in: Authentication failed: Invalid username or password",
            ),
            (
                "ssl://a:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after \
                 2ms in state SSL_HANDSHAKE)",
                "a:1 does not speak TLS there: is `security.protocol` right?",
            ),
            (
                "ssl://a:1/bootstrap: Disconnected: SSL connection closed by peer (after 312ms in state SSL_HANDSHAKE)",
                "a:1 does not speak TLS there: is `security.protocol` right?",
            ),
            (
                "no.such.host:1/bootstrap: Failed to resolve 'no.such.host:1': Name or service not known (after 9ms in state CONNECT)",
                "no.such.host:1: Failed to resolve 'no.such.host:1': Name or service not known",
            ),
            ("something else", "something else"),
        ] {
            assert_eq!(plain(&cluster, said), expected);
        }
    }
}
