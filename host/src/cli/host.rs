//! A running host, as commands reach it: by its admin API.

use super::wrong;
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{fs, path::PathBuf, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// Where a host is looked for when nobody says where.
const ADDRESS: &str = "127.0.0.1:8080";
/// The largest answer that is read.
const ANSWER_BYTES: usize = 64 << 20;
/// How long what is only shown may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take until a host is reached.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Which hosts, and what they want to see.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Hosts {
    /// The admin address of a running host; again for each host more
    #[arg(long, value_name = "ADDR", default_value = ADDRESS, value_delimiter = ',', value_parser = address, env = "MILLSTREAM_ADMIN")]
    admin: Vec<String>,
    /// The token that its admin API wants
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
}

impl Hosts {
    /// All of them.
    pub(super) fn all(&self) -> Result<Vec<Host>> {
        let token = match &self.admin_token_file {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
                Some(text.trim().to_owned())
            }
            None => None,
        };
        Ok(self.admin.iter().map(|address| Host { address: address.clone(), token: token.clone() }).collect())
    }

    /// The only one, for what is done with one host at a time.
    pub(super) fn one(&self) -> Result<Host> {
        let mut all = self.all()?;
        match (all.pop(), all.is_empty()) {
            (Some(host), true) => Ok(host),
            _ => Err(wrong("one host at a time: name one by --admin")),
        }
    }
}

/// A name or an address, and a port.
fn address(text: &str) -> Result<String, String> {
    let (name, port) = text.rsplit_once(':').unwrap_or_default();
    match !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) {
        true => Ok(text.to_owned()),
        false => Err("write the admin address of a host, such as `127.0.0.1:8080`".to_owned()),
    }
}

/// A running host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) address: String,
    token: Option<String>,
}

/// What a host said no to, and why.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct No {
    pub(super) code: String,
    pub(super) message: String,
}

impl Host {
    /// Reads something.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, Vec::new())
    }

    /// Asks for something, and waits for as long as it takes. A host that says no, does so by [`No`].
    pub(super) fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let is_quick = method == Method::GET;
        let answer = runtime.block_on(async {
            let exchange = self.exchange(method, path, body);
            match is_quick {
                true => timeout(ANSWER_WITHIN, exchange).await,
                false => Ok(exchange.await),
            }
        });
        let (status, body) = answer.map_err(|_| anyhow!("the host at {} does not answer", self.address))??;
        let value: Value = serde_json::from_slice(&body)
            .with_context(|| format!("what answers at {} is no host of millstream", self.address))?;
        if status == StatusCode::OK || status == StatusCode::ACCEPTED {
            return Ok(value);
        }
        let text = |key: &str| value["error"][key].as_str().map(str::to_owned);
        match (text("code"), text("message")) {
            (Some(code), Some(message)) => Err(No { code, message }.into()),
            // Health says what it has to say by itself.
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Ok(value),
            _ => bail!("{} answers {status}", self.address),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes)> {
        let address = &self.address;
        let none = || format!("no host answers at {address}: is it running, and does `run` name this admin address?");
        let stream = match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(stream) => stream.with_context(none)?,
            Err(_) => return Err(anyhow!(none())),
        };
        let gone = || format!("the host at {address} went away");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(gone)?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, address);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await.with_context(gone)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow!("{}: {error}", gone()))?;
        driver.abort();
        Ok((status, body.to_bytes()))
    }
}
