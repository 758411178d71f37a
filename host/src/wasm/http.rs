//! HTTP for guests: to the hosts that the manifest names, and to no others. Each request has a connection of its own,
//! follows no redirect, and ends with the call that made it.

use super::imports::Host;
use crate::tls;
use http::{Request, Response, uri::Authority};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    client::conn::http1,
};
use openssl::{error::ErrorStack, ssl::SslConnector, x509::X509VerifyResult};
use std::{
    collections::BTreeSet,
    error::Error as _,
    fmt, io,
    net::Ipv6Addr,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_openssl::SslStream;
use wasmtime_wasi::runtime;
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, io::TokioIo,
};

/// The ports of a host that is named without one: of http, and of https.
const PORTS: [u16; 2] = [80, 443];

/// No call lasts longer, so what it left behind without waiting for it does not either.
const LONGEST: Duration = Duration::from_secs(300);

/// What is taken from a connection before the guest reads it.
const READ_BYTES: usize = 64 << 10;

/// What a guest may write of a body in one piece, and how many pieces before the connection takes the first: tools
/// write a small body before they send its request.
const PIECE_BYTES: usize = 16 << 10;
const PIECES: usize = 8;

/// Hosts that were refused and are remembered, to be spoken of but once.
const REMEMBERED: usize = 100;

/// A host, or those below a name, that a module may send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// In lower case; with a leading dot, all names that end so.
    name: String,
    /// Without one the usual ports are meant.
    port: Option<u16>,
}

impl Site {
    /// Reads `name`, `name:port` or `*.name`.
    pub fn read(text: &str) -> Option<Site> {
        match text.strip_prefix("*.") {
            Some(below) => {
                let (name, port) = address(below)?;
                let is_name = name.contains(|c: char| c.is_ascii_alphabetic()) && !name.starts_with('[');
                is_name.then(|| Site { name: format!(".{name}"), port })
            }
            None => address(text).map(|(name, port)| Site { name, port }),
        }
    }

    fn allows(&self, name: &str, port: u16) -> bool {
        let named = match self.name.starts_with('.') {
            true => name.len() > self.name.len() && name.ends_with(&self.name),
            false => name == self.name,
        };
        named && self.port.map_or_else(|| PORTS.contains(&port), |own| own == port)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let any = if self.name.starts_with('.') { "*" } else { "" };
        write!(f, "{any}{}", self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A host's name, written in the one way that is compared, and its port.
fn address(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    let written = host.len() + authority.port().map_or(0, |port| 1 + port.as_str().len());
    // What is left over is a user's name, or a port that is none.
    if written != text.len() || authority.port_u16() == Some(0) {
        return None;
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => format!("[{}]", rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
        None => host.to_ascii_lowercase(),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_sound = name.starts_with('[') || (name.chars().all(is_name) && name.split('.').all(|part| !part.is_empty()));
    is_sound.then(|| (name, authority.port_u16()))
}

/// The hosts that a stage, or a source, may send requests to.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    allowed: Arc<[Site]>,
    /// What was refused; all workers of a stage know it.
    refused: Arc<Mutex<BTreeSet<String>>>,
}

impl Sites {
    /// True when none is named.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    fn allow(&self, name: &str, port: u16) -> bool {
        self.allowed.iter().any(|site| site.allows(name, port))
    }

    /// True for the first time.
    fn is_news(&self, address: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.len() < REMEMBERED && refused.insert(address.to_owned())
    }
}

impl From<Vec<Site>> for Sites {
    fn from(allowed: Vec<Site>) -> Self {
        Self { allowed: allowed.into(), refused: Arc::default() }
    }
}

/// What one instance has of `wasi:http`.
pub(super) struct Http {
    pub(super) context: WasiHttpCtx,
    pub(super) client: Client,
}

impl Http {
    pub(super) fn new(stage: &str, sites: &Sites) -> Self {
        Self { context: WasiHttpCtx::new(), client: Client { stage: stage.to_owned(), sites: sites.clone() } }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (wasi, _) = self.wasi();
        let (Http { context, client }, table) = wasi.http();
        WasiHttpCtxView { hooks: client, table, ctx: context }
    }
}

/// Sends what is allowed.
pub(super) struct Client {
    stage: String,
    sites: Sites,
}

/// Where a request goes.
struct Target {
    name: String,
    port: u16,
    tls: bool,
}

impl Client {
    /// Where this request goes, if it may.
    fn target(&self, request: &Request<WasiBody>) -> Result<Target> {
        let uri = request.uri();
        let (name, port) =
            uri.authority().and_then(|authority| address(authority.as_str())).ok_or(Error::HttpRequestUriInvalid)?;
        let tls = uri.scheme_str() == Some("https");
        let port = port.unwrap_or(PORTS[usize::from(tls)]);
        if self.sites.allow(&name, port) {
            return Ok(Target { name, port, tls });
        }
        let shown = if PORTS.contains(&port) { name } else { format!("{name}:{port}") };
        if self.sites.is_news(&shown) {
            tracing::warn!("{}: a request to {shown} is denied: `allow: {{http: […]}}` does not name it", self.stage);
        }
        Err(Error::HttpRequestDenied)
    }
}

/// A response, and what goes on behind it until its body is read.
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>);

impl WasiHttpHooks for Client {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent>> + Send> {
        let target = self.target(&request);
        let stage = self.stage.clone();
        Box::new(async move {
            let target = target?;
            let answer = send(request, &target, options.unwrap_or_default()).await;
            if let Err(error) = &answer {
                tracing::debug!("{stage}: a request to {}:{} failed: {error}", target.name, target.port);
            }
            answer.map_err(told)
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        PIECES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE_BYTES
    }
}

async fn send(mut request: Request<WasiBody>, target: &Target, options: RequestOptions) -> Result<Sent> {
    let connected = timeout(options.connect_timeout.unwrap_or(LONGEST), connect(target)).await;
    let connection = connected.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, traffic) =
        http1::Builder::new().max_buf_size(READ_BYTES).handshake(TokioIo::new(connection)).await?;
    // It ends when nobody has its handle any more.
    let traffic = runtime::spawn(async { drop(traffic.await) });
    // To a server, as opposed to a proxy, the path alone is sent.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let answered = timeout(options.first_byte_timeout.unwrap_or(LONGEST), sender.send_request(request)).await;
    let response = answered.map_err(|_| Error::HttpResponseTimeout)??;
    let response = response.map(|body| Paced::new(body, options.between_bytes_timeout).boxed_unsync());
    Ok((
        response,
        Box::new(async {
            traffic.await;
            Ok(())
        }),
    ))
}

/// A connection, encrypted or not.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

async fn connect(Target { name, port, tls }: &Target) -> Result<Box<dyn Connection>> {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let unknown = |error: io::Error| Error::DnsError { rcode: Some(error.to_string()), info_code: None };
    let addresses: Vec<_> = lookup_host((name, *port)).await.map_err(unknown)?.collect();
    let stream = TcpStream::connect(&addresses[..]).await.map_err(Error::Connect)?;
    if !tls {
        return Ok(Box::new(stream));
    }
    static TLS: LazyLock<std::result::Result<SslConnector, ErrorStack>> =
        LazyLock::new(|| Ok(tls::trusting()?.build()));
    let failed = |error: &ErrorStack| Error::Tls(io::Error::other(error.to_string()));
    let session = TLS.as_ref().map_err(failed)?.configure().and_then(|session| session.into_ssl(name));
    let mut stream = session.and_then(|session| SslStream::new(session, stream)).map_err(|error| failed(&error))?;
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(Box::new(stream)),
        Err(_) if stream.ssl().verify_result() != X509VerifyResult::OK => Err(Error::TlsCertificateError),
        Err(error) => Err(Error::Tls(io::Error::other(error))),
    }
}

/// What a guest is told of an error that only libraries know.
fn told(error: Error) -> Error {
    match error {
        Error::Connect(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            _ => Error::DestinationUnavailable,
        },
        Error::Tls(_) => Error::TlsProtocolError,
        Error::Hyper(error) if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        Error::Hyper(error) if error.is_parse() => Error::HttpProtocolError,
        Error::Hyper(error) if error.is_incomplete_message() || is_cut_off(&error) => Error::HttpResponseIncomplete,
        Error::Hyper(_) => Error::ConnectionTerminated,
        error => error,
    }
}

/// Whether a body ended too early.
fn is_cut_off(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::UnexpectedEof)
}

/// A response's body, whose parts must not be too far apart when the guest has said so.
struct Paced {
    body: Incoming,
    patience: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Paced {
    fn new(body: Incoming, patience: Option<Duration>) -> Self {
        Self { body, patience: patience.map(|patience| (patience, Box::pin(sleep(patience)))) }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match (polled, &mut self.patience) {
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some((_, patience))) => {
                ready!(patience.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
            (Poll::Ready(frame), patience) => {
                if let Some((patience, sleep)) = patience {
                    sleep.as_mut().reset(Instant::now() + *patience);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| told(error.into()))))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allows(site: &str, asked: &str) -> bool {
        let (name, port) = address(asked).unwrap();
        Site::read(site).unwrap().allows(&name, port.unwrap_or(443))
    }

    #[test]
    fn a_host_is_named_by_its_name_and_its_port() {
        for (site, asked) in [
            ("api.example.com", "API.example.com"),
            ("api.example.com", "api.example.com:80"),
            ("api.example.com:8443", "api.example.com:8443"),
            ("*.example.com", "a.b.example.com"),
            ("*.Example.com:99", "a.example.com:99"),
            ("127.0.0.1:99", "127.0.0.1:99"),
            ("[::1]", "[0:0::1]:443"),
            ("my_host", "my_host"),
        ] {
            assert!(allows(site, asked), "{site} {asked}");
        }
        for (site, asked) in [
            ("api.example.com", "example.com"),
            ("api.example.com", "api.example.com.evil.org"),
            ("api.example.com", "api.example.com:8443"),
            ("api.example.com:8443", "api.example.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", "evilexample.com"),
            ("*.example.com", "a.example.com:8080"),
        ] {
            assert!(!allows(site, asked), "{site} {asked}");
        }
    }

    #[test]
    fn what_is_no_host_is_none() {
        for text in [
            "",
            "*",
            "*.",
            "*.1",
            "a.*",
            "*.[::1]",
            "https://api.example.com",
            "api.example.com/v1",
            "user@api.example.com",
            "api.example.com:",
            "api.example.com:0",
            "api.example.com:99999",
            "api..example.com",
            "api.example.com.",
            "[::1",
            "[x]",
            "a b",
            "ä.example.com",
        ] {
            assert_eq!(Site::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_shown_as_it_is_written() {
        for text in ["api.example.com", "api.example.com:8443", "*.example.com", "*.example.com:1", "[::1]:8080"] {
            assert_eq!(Site::read(text).unwrap().to_string(), text);
        }
    }
}
