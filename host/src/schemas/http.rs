//! One request, one answer: HTTP with OpenSSL, as a registry wants it.

use crate::{manifest::SchemaRegistry, tls};
use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openssl::{
    ssl::{SslConnector, SslFiletype},
    x509::X509VerifyResult,
};
use serde_json::Value;
use std::{fmt, pin::Pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_openssl::SslStream;

/// How long an answer may take, from the first packet to the last.
const WITHIN: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const ANSWER_BYTES: usize = 16 << 20;
/// What registries speak.
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// Why a registry is of no help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It may answer later.
    #[error("{0}")]
    Unavailable(String),
    /// It answers, and cannot say this; it may later.
    #[error("{0}")]
    Failing(String),
    /// It lets this one in, but not to this.
    #[error("{0}")]
    Withheld(String),
    /// It does not let this one in, or cannot be trusted.
    #[error("{0}")]
    Denied(String),
    /// What it says is no, or of no use here.
    #[error("{0}")]
    Refused(String),
}

/// A server, and how one is let in.
pub(super) struct Client {
    /// The URL, as messages show it.
    shown: String,
    host: String,
    port: u16,
    /// What stands before each path.
    prefix: String,
    authorization: Option<HeaderValue>,
    tls: Option<SslConnector>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A connection, encrypted or not.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Client {
    /// Nothing is connected yet; what is wrong with the settings is told.
    pub(super) fn new(settings: &SchemaRegistry) -> Result<Client> {
        if settings.url.contains('@') {
            bail!(
                "a name and a password do not belong into the URL of a schema registry: name a manifest whose \
                 `schema-registry` has a `user` and a `password`"
            );
        }
        if settings.url.contains(['?', '#']) {
            bail!("the URL of a schema registry ends with its path: leave out what begins with `?` or `#`");
        }
        let shown = settings.url.trim_end_matches('/').to_owned();
        let uri: Uri = shown.parse().with_context(|| shown.clone())?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("{shown} is no URL: it begins with http:// or https://"),
        };
        let host = uri.host().ok_or_else(|| anyhow!("{shown} has no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let authorization = match (&settings.user, &settings.token) {
            (Some(user), _) => {
                let password = settings.password.as_ref().map_or("", |password| password.reveal());
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, Some(token)) => Some(format!("Bearer {}", token.reveal())),
            (None, None) => None,
        };
        let authorization = authorization.map(HeaderValue::try_from).transpose();
        let authorization =
            authorization.map_err(|_| anyhow!("the token for {shown} has characters that none may have"))?;
        let authorization = authorization.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(Client {
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls: is_secure.then(|| connector(settings)).transpose()?,
            shown,
            host,
            port,
            authorization,
        })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.shown
    }

    /// Asks for something, and waits for the answer: its status, and what it says.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value), Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| self.away(&error))?;
        let exchange = self.exchange(method, path, body);
        let answer = runtime.block_on(async { timeout(WITHIN, exchange).await });
        // A name that is still looked for holds up nobody.
        runtime.shutdown_background();
        let late = || self.away(&format!("nothing came for {} s", WITHIN.as_secs()));
        let (head, body) = answer.map_err(|_| late())??;
        let status = head.status;
        match status {
            StatusCode::UNAUTHORIZED => Err(Trouble::Denied(self.denied(status))),
            StatusCode::FORBIDDEN => Err(Trouble::Withheld(self.denied(status))),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(self.away(&status)),
            status if status.is_server_error() => {
                Err(Trouble::Failing(format!("the schema registry at {} fails ({status})", self.shown)))
            }
            // The password is for the one that was named.
            status if status.is_redirection() => Err(Trouble::Denied(format!(
                "the schema registry at {} says that it is elsewhere ({status}{}): write its own URL",
                self.shown,
                elsewhere(&head.headers)
            ))),
            status => Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null))),
        }
    }

    fn away(&self, why: &dyn fmt::Display) -> Trouble {
        Trouble::Unavailable(format!("the schema registry at {} does not answer: {why}", self.shown))
    }

    fn denied(&self, status: StatusCode) -> String {
        let (what, way_out) = match &self.authorization {
            None => ("lets nobody in unknown", "write `user` and `password`, or `token`,"),
            Some(_) if status == StatusCode::FORBIDDEN => (
                "does not allow this to who asks",
                "give the right to it, or correct `user` and `password`, or `token`,",
            ),
            Some(_) => ("refuses who asks", "correct `user` and `password`, or `token`,"),
        };
        format!("the schema registry at {} {what} ({status}): {way_out} under `schema-registry`", self.shown)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(Parts, Bytes), Trouble> {
        let connection = self.connect().await?;
        let gone = |error: hyper::Error| self.away(&error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.map_err(gone)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::ACCEPT, format!("{CONTENT}, application/json"))
            .header(header::CONTENT_TYPE, CONTENT);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.body(Full::new(body)).map_err(|error| self.away(&error))?;
        let response = sender.send_request(request).await.map_err(gone)?;
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                true => Trouble::Refused(format!(
                    "the schema registry at {} answers with more than {} MiB",
                    self.shown,
                    ANSWER_BYTES >> 20
                )),
                false => self.away(&error),
            })?;
        Ok((head, body.to_bytes()))
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, Trouble> {
        let name = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((name, self.port)).await.map_err(|error| self.away(&error))?;
        let Some(connector) = &self.tls else { return Ok(Box::new(stream)) };
        let session = connector.configure().and_then(|session| session.into_ssl(name));
        let stream = session.and_then(|session| SslStream::new(session, stream));
        let mut stream = stream.map_err(|error| self.away(&error))?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(Box::new(stream)),
            Err(error) => match stream.ssl().verify_result() {
                X509VerifyResult::OK if error.to_string().contains("wrong version number") => {
                    Err(self.away(&"it does not speak TLS there: is it http://?"))
                }
                X509VerifyResult::OK => Err(self.away(&error)),
                wrong => Err(Trouble::Denied(format!(
                    "the certificate of the schema registry at {} cannot be trusted: {}: name the file of who vouches \
                     for it under `schema-registry: {{ca: …}}`, or correct the URL",
                    self.shown,
                    wrong.error_string()
                ))),
            },
        }
    }
}

/// The server that an answer points to, without what may be secret.
fn elsewhere(headers: &HeaderMap) -> String {
    let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok()?.parse::<Uri>().ok());
    match place.as_ref().and_then(|place| Some((place.scheme()?, place.host()?, place.port()))) {
        Some((scheme, host, Some(port))) => format!(", {scheme}://{host}:{port}"),
        Some((scheme, host, None)) => format!(", {scheme}://{host}"),
        None => String::new(),
    }
}

fn connector(settings: &SchemaRegistry) -> Result<SslConnector> {
    let mut connector = tls::trusting()?;
    let words = |error: openssl::error::ErrorStack| {
        error.errors().first().and_then(|error| error.reason()).unwrap_or("it is of no use").to_owned()
    };
    if let Some(file) = &settings.ca {
        connector.set_ca_file(file).map_err(|error| anyhow!("{}: {}", file.display(), words(error)))?;
    }
    if let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) {
        connector
            .set_certificate_chain_file(certificate)
            .map_err(|error| anyhow!("{}: {}", certificate.display(), words(error)))?;
        connector
            .set_private_key_file(key, SslFiletype::PEM)
            .map_err(|error| anyhow!("{}: {}", key.display(), words(error)))?;
        connector
            .check_private_key()
            .map_err(|_| anyhow!("{} is not the key of {}", key.display(), certificate.display()))?;
    }
    Ok(connector.build())
}
