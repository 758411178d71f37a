//! A schema registry that is no more than what a test needs of one: in this process, with a password and a certificate
//! where they are wanted, and gone when it is dropped.

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    ssl::{SslAcceptor, SslMethod, SslVerifyMode},
    x509::{X509, X509Name, extension::SubjectAlternativeName},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A registry that runs.
pub(crate) struct Registry {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// By their ids, from 1 on: subject, language and text.
    schemas: Mutex<Vec<(String, Value, String)>>,
    asked: Mutex<BTreeMap<String, usize>>,
    ended: AtomicBool,
    /// What comes with each question.
    authorization: Option<String>,
    /// A second schema of a subject is no good.
    strict: bool,
    tls: Option<SslAcceptor>,
}

/// How a registry is set up.
#[derive(Default)]
pub(crate) struct Manners {
    pub(crate) authorization: Option<&'static str>,
    pub(crate) strict: bool,
    /// Its certificate, which it wants to see of others as well.
    pub(crate) certificate: Option<(X509, PKey<Private>)>,
}

impl Registry {
    pub(crate) fn start(manners: Manners) -> Registry {
        let tls = manners.certificate.map(|(certificate, key)| {
            let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
            acceptor.set_certificate(&certificate).unwrap();
            acceptor.set_private_key(&key).unwrap();
            acceptor.cert_store_mut().add_cert(certificate).unwrap();
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            acceptor.build()
        });
        let authorization = manners.authorization.map(str::to_owned);
        let state = Arc::new(State { authorization, strict: manners.strict, tls, ..State::default() });
        Registry::at("127.0.0.1:0", state)
    }

    fn at(address: &str, state: Arc<State>) -> Registry {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        state.ended.store(false, Ordering::SeqCst);
        let registry = Registry { address, state: state.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if state.ended.load(Ordering::SeqCst) {
                    break;
                }
                let (stream, state) = (stream.unwrap(), state.clone());
                thread::spawn(move || state.serve(stream));
            }
        });
        registry
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How often something was asked for.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.state.asked.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    /// Puts a schema there as others do.
    pub(crate) fn put(&self, subject: &str, schema: &str) -> usize {
        self.state.add(subject, &json!({ "schema": schema }))
    }

    /// It is gone; what it knows comes back with it.
    pub(crate) fn stop(self) -> impl FnOnce() -> Registry {
        let (address, state) = (self.address.clone(), self.state.clone());
        drop(self);
        move || Registry::at(&address, state)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // The listener goes with the thread that this one wakes.
        TcpStream::connect(&self.address).ok();
        while TcpStream::connect(&self.address).is_ok() {
            thread::yield_now();
        }
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

impl State {
    fn add(&self, subject: &str, body: &Value) -> usize {
        let mut schemas = self.schemas.lock().unwrap();
        schemas.push((subject.to_owned(), body["schemaType"].clone(), body["schema"].as_str().unwrap().to_owned()));
        schemas.len()
    }

    fn serve(&self, stream: TcpStream) {
        let stream: Box<dyn Both> = match &self.tls {
            Some(tls) => match tls.accept(stream) {
                Ok(stream) => Box::new(stream),
                Err(_) => return,
            },
            None => Box::new(stream),
        };
        let mut stream = BufReader::new(stream);
        let (mut head, mut size) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                size = length.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let mut body = vec![0; size];
        stream.read_exact(&mut body).unwrap();
        let asked = head[0].strip_suffix(" HTTP/1.1").unwrap();
        *self.asked.lock().unwrap().entry(asked.to_owned()).or_default() += 1;
        let is_known = self.authorization.as_ref().is_none_or(|wanted| {
            head.iter().any(|line| {
                line.split_once(": ").is_some_and(|(k, v)| k.eq_ignore_ascii_case("authorization") && v == wanted)
            })
        });
        let (status, answer) = match is_known {
            true => self.answer(asked, &serde_json::from_slice(&body).unwrap_or_default()),
            false => (401, json!({ "error_code": 401, "message": "Unauthorized" })),
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.get_mut().write_all((head + &answer).as_bytes()).ok();
        stream.get_mut().flush().ok();
    }

    fn answer(&self, asked: &str, body: &Value) -> (u16, Value) {
        let unknown = |code: u32| (404, json!({ "error_code": code, "message": "not found" }));
        let schemas = self.schemas.lock().unwrap().clone();
        let of = |subject: &str| -> Vec<_> {
            let all = schemas.iter().enumerate().filter(move |(_, (of, ..))| of == subject);
            all.map(|(at, (_, language, text))| (at + 1, language.clone(), text.clone())).collect()
        };
        let shown = |(id, language, text): &(usize, Value, String)| {
            (200, json!({ "id": id, "schema": text, "schemaType": language }))
        };
        let words: Vec<_> = asked.split(['/', '?']).collect();
        match &words[..] {
            ["GET ", "schemas", "ids", id] => match schemas.get(id.parse::<usize>().unwrap().wrapping_sub(1)) {
                Some((_, language, text)) => (200, json!({ "schema": text, "schemaType": language })),
                None => unknown(40403),
            },
            ["GET ", "subjects", subject, "versions", "latest"] => {
                of(subject).last().map_or_else(|| unknown(40401), shown)
            }
            ["POST ", "subjects", subject] => {
                let all = of(subject);
                let found = all.iter().find(|(_, _, text)| body["schema"] == json!(text));
                found.map_or_else(|| unknown(if all.is_empty() { 40401 } else { 40403 }), shown)
            }
            ["POST ", "subjects", subject, "versions"] => (200, json!({ "id": self.add(subject, body) })),
            ["POST ", "compatibility", "subjects", subject, "versions", "latest", ..] => match of(subject).is_empty() {
                true => unknown(40401),
                false if self.strict => (200, json!({ "is_compatible": false, "messages": ["a field\n is  gone"] })),
                false => (200, json!({ "is_compatible": true })),
            },
            _ => (404, json!({})),
        }
    }
}

/// A certificate for this address that vouches for itself, and its key.
pub(crate) fn certificate(ip: &str) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "a registry").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    let name = SubjectAlternativeName::new().ip(ip).build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(name).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}
