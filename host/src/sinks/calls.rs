//! Calls to a database: each ends in time, whatever the database does, and soon when the worker is to end.

use crate::worker::control::Control;
use std::{
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// How long a database that does not answer is waited for when the worker is to end.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(50);

/// A thread beside a worker that speaks with a database, and the worker's way to wait for it.
pub(super) struct Calls {
    runtime: Option<Runtime>,
    control: Arc<Control>,
}

/// There was no answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

impl Calls {
    /// For a worker that ends by this control.
    pub(super) fn new(control: Arc<Control>) -> io::Result<Calls> {
        // Where the client is called less often than its server, somebody has to answer that all the same.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("sink").enable_all().build()?;
        Ok(Calls { runtime: Some(runtime), control })
    }

    /// Begins a call, which goes on while nobody waits for it.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, NoAnswer> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(call)).ok_or(NoAnswer)
    }

    /// Waits for a call, but not for longer than `limit`. One that has no answer by then goes on nowhere.
    pub(super) fn wait<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Result<T, NoAnswer> {
        let runtime = self.runtime.as_ref().ok_or(NoAnswer)?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                answer = call => Ok(answer),
                () = self.over(limit) => Err(NoAnswer),
            }
        })
    }

    async fn over(&self, limit: Duration) {
        let since = Instant::now();
        while since.elapsed() < limit && !self.is_out_of_patience() {
            tokio::time::sleep(LOOK.min(limit)).await;
        }
    }

    fn is_out_of_patience(&self) -> bool {
        self.control.stopped_at().is_some_and(|stopped| stopped.elapsed() > PATIENCE)
    }
}

impl Drop for Calls {
    /// What it still does for a database that is stuck is not waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_never_ends_is_left_in_time() {
        let control = Arc::new(Control::default());
        let calls = Calls::new(control.clone()).unwrap();
        assert_eq!(calls.wait(Duration::from_secs(5), async { 7 }), Ok(7));
        let since = Instant::now();
        assert_eq!(calls.wait(Duration::from_millis(100), std::future::pending::<()>()), Err(NoAnswer));
        control.stop();
        assert_eq!(calls.wait(Duration::from_secs(60), std::future::pending::<()>()), Err(NoAnswer));
        assert!(since.elapsed() < PATIENCE + Duration::from_secs(2), "{:?}", since.elapsed());
    }
}
