//! One writer thread per file: whatever waits shares one transaction, and with it one fsync. It never waits for more.

use crate::store::faults::{Failure, Faults, File, Point};
use crate::store::{Pending, StoreError};
use rusqlite::Connection;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What waits for the writer; more is told that the queue is full.
const QUEUE_LENGTH_MAX: usize = 2048;
/// A batch ends at so many messages …
const BATCH_LENGTH_MAX: usize = 256;
/// … or after so much work, so that the first of them does not wait long for its answer. Messages of one batch share the
/// pages that they change: half of this costs an eighth of the throughput.
const BATCH_WORK_MAX: Duration = Duration::from_millis(50);

/// A savepoint keeps a copy of every page that its job changes: an eighth of a writer's time. So jobs have one only after
/// one of them failed halfway, this many.
const CAREFUL_JOBS: usize = 10_000;

/// What a writer keeps in memory beside its file, and must take back together with it.
pub(super) trait Desk: Send + 'static {
    type Mark;

    /// A transaction begins.
    fn begin(&mut self, connection: &Connection) -> Result<(), StoreError>;
    fn mark(&self) -> Self::Mark;
    /// What came after the mark is not stored.
    fn back_to(&mut self, mark: Self::Mark);
    fn committed(&mut self);
    fn rolled_back(&mut self);
}

/// The writer of one file. Dropped, it finishes what is queued.
pub(super) struct Group<D> {
    queue: Option<SyncSender<Box<dyn Work<D>>>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Desk> Group<D> {
    pub(super) fn start(connection: Connection, desk: D, faults: Arc<dyn Faults>, file: File) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE_LENGTH_MAX);
        let writer = Writer { connection, desk, faults, file, work_max: BATCH_WORK_MAX, careful: 0 };
        let name = match file {
            File::Landbridge => "store",
            File::Access => "access",
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(&jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues work at once; resolves when it is durable, or not done at all.
    pub(super) fn submit<T, F>(&self, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut D, &Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Job { work: Some(work), outcome: None, reply });
        let queued = match &self.queue {
            Some(queue) => queue.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => stopped(),
            }),
            None => Err(stopped()),
        };
        Box::pin(async move {
            queued?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        })
    }
}

impl<D> Drop for Group<D> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It ended in a panic: there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".into())
}

/// One piece of work in a batch.
trait Work<D>: Send {
    /// Whether it stands.
    fn apply(&mut self, desk: &mut D, connection: &Connection) -> bool;
    /// Tells who waits what became of the batch.
    fn resolve(self: Box<Self>, batch: Result<(), StoreError>);
}

struct Job<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<D, T: Send, F: FnOnce(&mut D, &Connection) -> Result<T, StoreError> + Send> Work<D> for Job<T, F> {
    fn apply(&mut self, desk: &mut D, connection: &Connection) -> bool {
        self.outcome = self.work.take().map(|work| work(desk, connection));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn resolve(self: Box<Self>, batch: Result<(), StoreError>) {
        let answer = match (self.outcome, batch) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(batch)) => Err(batch),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(stopped()),
        };
        // Who asked may have gone away; what is stored is stored.
        let _ = self.reply.send(answer);
    }
}

struct Writer<D> {
    connection: Connection,
    desk: D,
    faults: Arc<dyn Faults>,
    file: File,
    work_max: Duration,
    /// Jobs to come that get a savepoint each.
    careful: usize,
}

impl<D: Desk> Writer<D> {
    fn run(mut self, jobs: &Receiver<Box<dyn Work<D>>>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = Vec::new();
            let outcome = self.batch(first, jobs, &mut batch);
            let ControlFlow::Continue(outcome) = outcome else { return };
            batch.into_iter().for_each(|job| job.resolve(outcome.clone()));
        }
    }

    /// One transaction. `Break`: the process is to be thought dead.
    fn batch(
        &mut self,
        first: Box<dyn Work<D>>,
        jobs: &Receiver<Box<dyn Work<D>>>,
        batch: &mut Vec<Box<dyn Work<D>>>,
    ) -> ControlFlow<(), Result<(), StoreError>> {
        let begun =
            self.connection.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::from).and_then(|()| self.desk.begin(&self.connection));
        if let Err(error) = begun {
            batch.push(first);
            self.roll_back();
            return ControlFlow::Continue(Err(error));
        }
        let started = Instant::now();
        let mut next = Some(first);
        while let Some(mut job) = next {
            let lost = self.one(&mut *job);
            batch.push(job);
            if let Err(error) = lost {
                self.roll_back();
                return ControlFlow::Continue(Err(error));
            }
            let more = batch.len() < BATCH_LENGTH_MAX && started.elapsed() < self.work_max;
            next = if more { jobs.try_recv().ok() } else { None };
        }
        match self.faults.at(self.file, Point::BeforeCommit) {
            Some(Failure::Fail) => {
                self.roll_back();
                return ControlFlow::Continue(Err(StoreError::Unavailable("injected".into())));
            }
            Some(Failure::Die) => return ControlFlow::Break(()),
            None => {}
        }
        if let Err(error) = self.connection.execute_batch("COMMIT") {
            self.roll_back();
            return ControlFlow::Continue(Err(error.into()));
        }
        self.desk.committed();
        match self.faults.at(self.file, Point::AfterCommit) {
            Some(Failure::Fail) => ControlFlow::Continue(Err(StoreError::Unavailable("injected".into()))),
            Some(Failure::Die) => ControlFlow::Break(()),
            None => ControlFlow::Continue(Ok(())),
        }
    }

    /// One job. What fails before it wrote anything fails alone. `Err`: the whole transaction is lost; whoever waits for
    /// it is told so, as when the disk fails, and for a while each job has a savepoint, so that one that fails again does so alone.
    fn one(&mut self, job: &mut dyn Work<D>) -> Result<(), StoreError> {
        if self.careful > 0 {
            self.careful -= 1;
            return self.one_under_savepoint(job);
        }
        let (mark, changes) = (self.desk.mark(), self.connection.total_changes());
        if job.apply(&mut self.desk, &self.connection) {
            return Ok(());
        }
        self.desk.back_to(mark);
        if self.connection.total_changes() == changes && !self.connection.is_autocommit() {
            return Ok(());
        }
        self.careful = CAREFUL_JOBS;
        Err(StoreError::Unavailable("another message of the batch failed".into()))
    }

    fn one_under_savepoint(&mut self, job: &mut dyn Work<D>) -> Result<(), StoreError> {
        let run = |sql: &str| {
            self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(StoreError::from)
        };
        run("SAVEPOINT one")?;
        let mark = self.desk.mark();
        if job.apply(&mut self.desk, &self.connection) {
            return run("RELEASE one");
        }
        self.desk.back_to(mark);
        if self.connection.is_autocommit() {
            return Err(StoreError::Unavailable("the transaction was lost".into()));
        }
        run("ROLLBACK TO one")?;
        run("RELEASE one")
    }

    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            // Where even this fails the next BEGIN does, and is told.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.desk.rolled_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faults::NoFaults;

    struct Bare;

    impl Desk for Bare {
        type Mark = ();

        fn begin(&mut self, _: &Connection) -> Result<(), StoreError> {
            Ok(())
        }

        fn mark(&self) -> Self::Mark {}

        fn back_to(&mut self, (): Self::Mark) {}

        fn committed(&mut self) {}

        fn rolled_back(&mut self) {}
    }

    /// Writes, or not, and fails, or not.
    type Step = (bool, bool);

    fn run(writer: &mut Writer<Bare>, steps: &[Step]) -> Vec<bool> {
        let (queue, jobs) = sync_channel(steps.len());
        let mut answers = Vec::new();
        for &(writes, fails) in steps {
            let (reply, answer) = oneshot::channel();
            let work = move |_: &mut Bare, connection: &Connection| {
                if writes {
                    connection.execute("INSERT INTO done VALUES (1)", [])?;
                }
                if fails { Err(StoreError::Refused("on purpose".into())) } else { Ok(()) }
            };
            let job: Box<dyn Work<Bare>> = Box::new(Job { work: Some(work), outcome: None, reply });
            assert!(queue.try_send(job).is_ok());
            answers.push(answer);
        }
        let mut batch = Vec::new();
        while let Ok(first) = jobs.try_recv() {
            let ControlFlow::Continue(done) = writer.batch(first, &jobs, &mut batch) else { panic!("nothing is injected") };
            batch.drain(..).for_each(|job| job.resolve(done.clone()));
        }
        answers.into_iter().map(|mut answer| answer.try_recv().unwrap().is_ok()).collect()
    }

    #[test]
    fn what_fails_fails_alone_or_is_sent_again() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE done (x)").unwrap();
        let file = File::Landbridge;
        let mut writer = Writer { connection, desk: Bare, faults: Arc::new(NoFaults), file, work_max: Duration::MAX, careful: 0 };
        let count =
            |writer: &Writer<Bare>| writer.connection.query_row("SELECT count(*) FROM done", [], |row| row.get::<_, i64>(0)).unwrap();
        let (good, early, late) = ((true, false), (false, true), (true, true));
        assert_eq!(run(&mut writer, &[good, early, good]), [true, false, true]);
        assert_eq!(count(&writer), 2);
        // Halfway: what was written before it in the batch is lost, and told; what comes after is done.
        assert_eq!(run(&mut writer, &[good, late, good]), [false, false, true]);
        assert_eq!(count(&writer), 3);
        // Then it fails alone.
        assert_eq!(run(&mut writer, &[good, late, good]), [true, false, true]);
        assert_eq!((count(&writer), writer.careful), (5, CAREFUL_JOBS - 4));
    }
}
