//! Seals of the audit leave the store: each is appended to a file as a line, and made durable there.

use crate::clock::Clock;
use crate::observe::Metrics;
use crate::store::Store;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// So much of the audit's tail is not yet sealed at most.
const INTERVAL: Duration = Duration::from_secs(10);
/// A pipe whose reader is gone must not hold the gateway.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// The task that seals.
pub struct Seals {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

impl Seals {
    /// Seals what is there first: where that cannot be done nobody is served.
    pub async fn start(file: PathBuf, store: Arc<dyn Store>, clock: Clock, metrics: Metrics) -> Result<Self, String> {
        metrics.sealed(seal(&file, &*store, &clock).await.map_err(|error| format!("audit.seals: {error}"))?);
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let stopping = tokio::time::timeout(INTERVAL, &mut stopped).await.is_ok();
                let sealed = seal(&file, &*store, &clock).await;
                match &sealed {
                    Ok(at) => metrics.sealed(*at),
                    Err(error) => {
                        metrics.audit_failure();
                        tracing::error!(error, "the audit could not be sealed");
                    }
                }
                if stopping {
                    return sealed.map(|_| ());
                }
            }
        });
        Ok(Self { stop, task })
    }

    /// The last seal.
    pub async fn stop(self) -> Result<(), String> {
        let _ = self.stop.send(());
        self.task.await.unwrap_or_else(|_| Err("the audit's last seal broke off".into()))
    }
}

/// One seal, in the store and in the file; when it was made, as Unix time.
async fn seal(file: &Path, store: &dyn Store, clock: &Clock) -> Result<i64, String> {
    let at = clock.now();
    let line = store.seal(at).await.map_err(|error| format!("no seal: {error}"))?;
    let path = file.to_owned();
    let appended = tokio::task::spawn_blocking(move || append(&path, &line));
    match tokio::time::timeout(WRITE_TIME_MAX, appended).await {
        Ok(Ok(Ok(()))) => Ok(at.as_second()),
        Ok(Ok(Err(error))) => Err(format!("{}: {}", file.display(), error.kind())),
        Ok(Err(_)) | Err(_) => Err(format!("{}: takes no seals", file.display())),
    }
}

fn append(file: &Path, line: &str) -> std::io::Result<()> {
    let mut opened = OpenOptions::new().append(true).create(true).open(file)?;
    opened.write_all(format!("{}\n", line.trim_end()).as_bytes())?;
    match opened.sync_all() {
        // A pipe has no disk.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
