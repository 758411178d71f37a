//! What a guest waits for in the host: WASI's functions that wait are called here, so that their waits end with the
//! call's time. A guest's epochs do not pass while it is in the host.

use super::imports::{Clock, Host};
use std::pin::pin;
use tokio::time::timeout;
use wasmtime::{
    Result,
    component::{HasSelf, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    p2::{
        DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult,
        bindings::{
            io::{poll as polls, streams as flows},
            sync::io::{poll, streams},
        },
    },
    runtime::in_tokio,
};

/// In the place of those that wait for ever.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    poll::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    streams::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

/// Waits no longer than the call has time.
fn wait<T>(clock: &mut Clock, work: impl Future<Output = Result<T>>) -> Result<T> {
    in_tokio(async {
        let mut work = pin!(work);
        loop {
            // Its clock stands still when the process does: what this timer says is asked again.
            if let Ok(done) = timeout(clock.left()?, &mut work).await {
                return done;
            }
        }
    })
}

/// The same for a stream, whose end is no error of the host's.
fn wait_for<T>(clock: &mut Clock, work: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    wait(clock, async { Ok(work.await) }).map_err(StreamError::Trap)?
}

impl Host {
    /// What lies in the instance's hands, and the time that a call may take.
    fn table(&mut self) -> (&mut ResourceTable, &mut Clock) {
        let (wasi, clock) = self.wasi();
        (wasi.table(), clock)
    }
}

impl poll::Host for Host {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        let (table, clock) = self.table();
        wait(clock, polls::Host::poll(table, pollables))
    }
}

impl poll::HostPollable for Host {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(self.table().0, pollable)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        let (table, clock) = self.table();
        wait(clock, polls::HostPollable::block(table, pollable))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.table().0, pollable)
    }
}

impl streams::Host for Host {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.table().0, error)
    }
}

impl streams::HostInputStream for Host {
    fn read(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::read(self.table().0, stream, bytes)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<Vec<u8>> {
        let (table, clock) = self.table();
        wait_for(clock, flows::HostInputStream::blocking_read(table, stream, bytes))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<u64> {
        streams::HostInputStream::skip(self.table().0, stream, bytes)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<u64> {
        let (table, clock) = self.table();
        wait_for(clock, flows::HostInputStream::blocking_skip(table, stream, bytes))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        streams::HostInputStream::subscribe(self.table().0, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        let (table, clock) = self.table();
        wait(clock, flows::HostInputStream::drop(table, stream))
    }
}

impl streams::HostOutputStream for Host {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        streams::HostOutputStream::check_write(self.table().0, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        streams::HostOutputStream::write(self.table().0, stream, bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        let (table, clock) = self.table();
        wait_for(clock, flows::HostOutputStream::blocking_write_and_flush(table, stream, bytes))
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::flush(self.table().0, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        let (table, clock) = self.table();
        wait_for(clock, flows::HostOutputStream::blocking_flush(table, stream))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        streams::HostOutputStream::subscribe(self.table().0, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, bytes: u64) -> StreamResult<()> {
        streams::HostOutputStream::write_zeroes(self.table().0, stream, bytes)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: u64) -> StreamResult<()> {
        let (table, clock) = self.table();
        wait_for(clock, flows::HostOutputStream::blocking_write_zeroes_and_flush(table, stream, bytes))
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        bytes: u64,
    ) -> StreamResult<u64> {
        streams::HostOutputStream::splice(self.table().0, to, from, bytes)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        bytes: u64,
    ) -> StreamResult<u64> {
        let (table, clock) = self.table();
        wait_for(clock, flows::HostOutputStream::blocking_splice(table, to, from, bytes))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        let (table, clock) = self.table();
        wait(clock, flows::HostOutputStream::drop(table, stream))
    }
}
