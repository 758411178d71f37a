//! WASI, for guests whose tools bring it: clocks and random numbers work, what is printed goes to the guest's log, and
//! there are no files, no environment and no HTTP but what the manifest allows, no arguments and no other network. What
//! a tool links all the same is there to be linked, and says no when it is called.

use super::{
    http::{Http, Sites},
    imports::Host,
    log::enabled,
    waits,
};
use crate::{record::log::Level, text::LINE_BYTES};
use bytes::Bytes;
use std::{
    io, mem,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    FsPerms, WasiCtx, WasiCtxView, WasiView, async_trait,
    cli::{IsTerminal, StdoutStream},
    filesystem::WasiFilesystemView,
    p2::{
        self, OutputStream, Pollable, StreamResult,
        bindings::sync::filesystem::types::{
            Descriptor, DescriptorFlags, DescriptorType, ErrorCode, Host as _, HostDescriptor, OpenFlags, PathFlags,
        },
    },
};

/// The name under which core modules import WASI's first version.
pub(super) const PREVIEW1: &str = "wasi_snapshot_preview1";

/// Streams, sockets and the like that an instance may hold at a time: each takes memory of the host.
const HANDLES: usize = 256;

/// Bytes that a guest may print at once.
const CHUNK: usize = 64 << 10;

/// What there is of WASI 0.2.
pub(super) const INTERFACES: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Whether a module may import this interface.
pub(super) fn provides(interface: &str, version: &str) -> bool {
    version.starts_with("0.2.") && INTERFACES.contains(&interface)
}

/// WASI's part of the host. Its waits are ours, so that they end with the call's time.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    p2::add_to_linker_sync(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    waits::add_to_linker(linker)?;
    linker.instance(FILESYSTEM)?.func_wrap("[method]descriptor.open-at", open_at)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Where the functions of files stand in the linker.
const FILESYSTEM: &str = "wasi:filesystem/types@0.2.12";

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// Opens files and folders alone. What else may lie in a folder can wait for ever when it is opened, or read, as a pipe
/// does for its other end, and nothing would end that.
fn open_at(
    mut host: StoreContextMut<'_, Host>,
    (folder, links, path, how, rights): OpenAt,
) -> Result<(Result<Resource<Descriptor>, ErrorCode>,)> {
    let mut files = host.data_mut().filesystem();
    let found = files.stat_at(Resource::new_borrow(folder.rep()), links, path.clone());
    let is_plain = |kind| matches!(kind, DescriptorType::RegularFile | DescriptorType::Directory);
    // A link that is not to be followed is refused when it is opened. So is what is not there, or made.
    let may_wait = found.is_ok_and(|found| !is_plain(found.type_) && found.type_ != DescriptorType::SymbolicLink);
    if may_wait {
        return Ok((Err(ErrorCode::NotPermitted),));
    }
    Ok((match files.open_at(folder, links, path, how, rights) {
        Ok(file) => Ok(file),
        Err(error) => Err(files.convert_error_code(error)?),
    },))
}

/// What an instance may reach beyond what it is handed.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// The variables of its environment.
    pub env: Vec<(String, String)>,
    /// The folders that it may use.
    pub dirs: Vec<Folder>,
    /// The hosts that it may send HTTP requests to.
    pub http: Sites,
}

/// A folder that an instance may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its name, as the instance sees it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it may be changed.
    pub writable: bool,
}

/// What one instance has of WASI.
pub(super) struct Wasi {
    context: WasiCtx,
    http: Http,
    table: ResourceTable,
    printed: Arc<Mutex<Printed>>,
}

impl Wasi {
    pub(super) fn new(stage: &str, allowed: &Allowed, lines_a_call: u32) -> Self {
        let printed = Arc::new(Mutex::new(Printed::new(lines_a_call)));
        let stream = |stream| Stream { stream, printed: printed.clone() };
        let mut context = WasiCtx::builder();
        context
            .envs(&allowed.env)
            .stdout(stream(0))
            .stderr(stream(1))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .allow_blocking_current_thread(true);
        for Folder { name, path, writable } in &allowed.dirs {
            let access = if *writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            // It was there when the manifest was read. Without it the instance finds no such folder, as if it had lost
            // it while it ran.
            if let Err(error) = context.preopened_dir(path, name, access) {
                tracing::warn!("the folder {} cannot be opened for a module: {error}", path.display());
            }
        }
        let context = context.build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self { context, http: Http::new(stage, &allowed.http), table, printed }
    }

    /// Streams and the like that the instance holds.
    pub(super) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// The same, and what sends requests.
    pub(super) fn http(&mut self) -> (&mut Http, &mut ResourceTable) {
        (&mut self.http, &mut self.table)
    }

    /// Takes what was printed, whether its last line was ended or not.
    pub(super) fn printed(&mut self) -> Printed {
        let mut printed = lock(&self.printed);
        printed.end_lines();
        let next = Printed::new(printed.most);
        mem::replace(&mut *printed, next)
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (Wasi { context, table, .. }, _) = self.wasi();
        WasiCtxView { ctx: context, table }
    }
}

/// What was printed since it was asked for last.
pub(super) struct Printed {
    /// Lines that one call may write.
    most: u32,
    pub(super) lines: Vec<(Level, String)>,
    /// Lines beyond those that one call may write.
    pub(super) dropped: u64,
    /// For each stream, the line that is not ended yet.
    open: [Vec<u8>; STREAMS.len()],
}

/// What the lines of standard output and of standard error are.
const STREAMS: [Level; 2] = [Level::Info, Level::Warn];

impl Printed {
    fn new(most: u32) -> Self {
        Self { most, lines: Vec::new(), dropped: 0, open: Default::default() }
    }

    fn write(&mut self, stream: usize, bytes: &[u8]) {
        if !enabled(STREAMS[stream]) {
            return;
        }
        let mut parts = bytes.split(|byte| *byte == b'\n');
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.extend(stream, part);
            self.end_line(stream);
        }
        self.extend(stream, last);
    }

    /// Keeps as much of a line as is shown, and enough more to tell that it is too long.
    fn extend(&mut self, stream: usize, part: &[u8]) {
        let line = &mut self.open[stream];
        let room = (LINE_BYTES + 4).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self, stream: usize) {
        let line = &mut self.open[stream];
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        match text.is_empty() {
            true => {}
            false if self.lines.len() < self.most as usize => self.lines.push((STREAMS[stream], text.to_owned())),
            false => self.dropped += 1,
        }
        line.clear();
    }

    fn end_lines(&mut self) {
        (0..STREAMS.len()).for_each(|stream| self.end_line(stream));
    }
}

/// Standard output, or standard error: taken at once, whatever is written.
#[derive(Clone)]
struct Stream {
    stream: usize,
    printed: Arc<Mutex<Printed>>,
}

impl Stream {
    fn take(&self, bytes: &[u8]) {
        lock(&self.printed).write(self.stream, bytes);
    }
}

fn lock(printed: &Mutex<Printed>) -> MutexGuard<'_, Printed> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use wasmtime_wasi::{
        p2::bindings::sockets::{
            instance_network::Host as _, ip_name_lookup::Host as _, network::IpAddressFamily, tcp_create_socket,
        },
        p2::bindings::sync::sockets::udp_create_socket,
        sockets::WasiSocketsView,
    };

    struct Alone(Wasi);

    impl WasiView for Alone {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView { ctx: &mut self.0.context, table: &mut self.0.table }
        }
    }

    #[test]
    fn nobody_gets_a_socket_or_an_address() {
        let mut host = Alone(Wasi::new("trial", &Allowed::default(), 20));
        let tcp = tcp_create_socket::Host::create_tcp_socket(&mut host.sockets(), IpAddressFamily::Ipv4);
        let udp = udp_create_socket::Host::create_udp_socket(&mut host.sockets(), IpAddressFamily::Ipv4);
        let network = host.sockets().instance_network().unwrap();
        let address = host.sockets().resolve_addresses(network, "localhost".into());
        let why = [tcp.err().unwrap(), udp.err().unwrap(), address.err().unwrap()].map(|error| error.to_string());
        let denied = "access-denied (error 1)";
        assert_eq!(why, [denied, denied, "permanent-resolver-failure (error 20)"]);
    }
}
