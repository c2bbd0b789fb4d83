use super::desk::{files, read};
use super::serve::runtime;
use super::{Done, Failure, progress};
use crate::mllp::{Code, Destination, Files, Line, REPLY_TIME, Unacknowledged, renumbered};
use bytes::Bytes;
use hl7v2::batch;
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// So many messages that were not accepted are named one by one.
const NAMED_MAX: usize = 20;

/// Send HL7 v2 messages by MLLP, wait for each acknowledgement, and tell rate, latency and codes
///
/// Messages go one at a time on each connection: the next is sent when the one before is acknowledged.
/// Everything is read before anything is sent. Bytes are sent as they are. A message without an acknowledgement is not sent
/// again, since it may have arrived: the line is closed, and the next message goes by a new one.
///
/// Exit code 0: each message has AA or CA. 1: any has another code, or none. 2: called wrongly, nothing was sent.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Receiver, `HOST:PORT`. Plain without --ca: anyone on the network between can read what is sent
    #[arg(value_name = "HOST:PORT")]
    to: String,
    /// Files or folders (walked, sorted) of messages, batches or recordings; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Connections at once. With more than one, messages may overtake each other between connections
    #[arg(long, value_name = "N", default_value = "1")]
    connections: NonZeroUsize,
    /// Send everything so many times. The same control ids come again, so that a receiver may take them for repeats
    /// (Landbridge gives its first reply again and stores nothing new); --renumber makes new messages of them
    #[arg(long, value_name = "N", default_value = "1")]
    count: NonZeroUsize,
    /// So many messages a second at most, over all connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Give each message a control id of its own (MSH-10), in place of the one that it has
    #[arg(long)]
    renumber: bool,
    /// Wait so many seconds for an acknowledgement, then close the line
    #[arg(long, value_name = "SECONDS", default_value_t = REPLY_TIME.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// Sends, and tells how it went.
pub fn run(arguments: &Arguments) -> Done {
    let destination = Destination::new(&arguments.to, &arguments.files).map_err(Failure::usage)?;
    let messages = messages(&arguments.paths)?;
    if arguments.renumber
        && let Some(message) = messages.iter().find(|message| renumbered(&message.bytes, "1").is_none())
    {
        return Err(Failure::usage(format!("{}: MSH-10 cannot be found; send it without --renumber", message.place)));
    }
    let total = messages.len().checked_mul(arguments.count.get()).ok_or_else(|| Failure::usage("--count: so many cannot be counted"))?;
    if destination.is_plain() {
        eprintln!("plain: anyone on the network between can read and alter what is sent; --ca sends in TLS");
    }
    let work = Arc::new(Work {
        destination,
        messages,
        total,
        next: AtomicUsize::new(0),
        pause: arguments.rate.map(|rate| Duration::from_secs(1) / rate),
        // 16 characters at most: MSH-10 has 20.
        prefix: arguments.renumber.then(|| uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()),
        reply_time: Duration::from_secs(arguments.timeout),
        bar: progress::bar(total as u64, "messages"),
    });
    let report = runtime()?.block_on(send(&work, arguments.connections.get().min(total)))?;
    work.bar.finish_and_clear();
    for told in &report.named {
        eprintln!("{told}");
    }
    if report.unnamed > 0 {
        eprintln!("and {} more", report.unnamed);
    }
    // Whoever reads our output may be gone; the exit code tells all the same.
    let _ = std::io::stdout().write_all(report.text(total).as_bytes());
    Ok(ExitCode::from(u8::from(!report.is_good(total))))
}

/// One message, and where it was read.
struct Message {
    place: String,
    bytes: Bytes,
}

/// All messages, in order. Files of folders that are no HL7 v2 are passed over; a named one is a mistake.
fn messages(paths: &[PathBuf]) -> Result<Vec<Message>, Failure> {
    let (mut found, mut passed_over) = (Vec::new(), 0);
    for (path, named) in files(paths)? {
        let bytes = read(&path).map_err(Failure::usage)?;
        if batch::recognises(&bytes) {
            let frames = batch::frames(&bytes);
            found.extend(
                frames
                    .iter()
                    .enumerate()
                    .map(|(index, frame)| Message { place: format!("{} message {index}", path.display()), bytes: frame.bytes().clone() }),
            );
        } else if named {
            return Err(Failure::usage(format!("{}: no HL7 v2: it begins neither with MSH nor with a batch header", path.display())));
        } else {
            passed_over += 1;
        }
    }
    if passed_over > 0 {
        eprintln!("{passed_over} files that are no HL7 v2 were passed over");
    }
    if found.is_empty() { Err(Failure::usage("there is no message to send")) } else { Ok(found) }
}

/// What all connections share.
struct Work {
    destination: Destination,
    messages: Vec<Message>,
    total: usize,
    next: AtomicUsize,
    /// Between two messages.
    pause: Option<Duration>,
    /// Of new control ids.
    prefix: Option<String>,
    reply_time: Duration,
    bar: ProgressBar,
}

async fn send(work: &Arc<Work>, connections: usize) -> Result<Report, Failure> {
    // Whoever cannot be reached at all is told before anything counts.
    let first = work.destination.connect().await.map_err(Failure::failed)?;
    let mut first = Some(Line::new(first, work.reply_time));
    let start = Instant::now();
    let mut open = JoinSet::new();
    for _ in 0..connections {
        open.spawn(work.clone().connection(first.take(), start));
    }
    let mut report = Report::default();
    while let Some(part) = open.join_next().await {
        report.join(part.map_err(|_| Failure::failed("a connection's task broke off"))?);
    }
    report.took = start.elapsed();
    Ok(report)
}

impl Work {
    /// Sends what is next until nothing is left, or the receiver cannot be reached any more.
    async fn connection(self: Arc<Self>, mut line: Option<Line>, start: Instant) -> Report {
        let mut report = Report::default();
        loop {
            let open = match line.take() {
                Some(line) => line,
                None if self.next.load(Ordering::Relaxed) >= self.total => return report,
                None => match self.destination.connect().await {
                    Ok(stream) => Line::new(stream, self.reply_time),
                    Err(reason) => {
                        report.name(reason);
                        return report;
                    }
                },
            };
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.total {
                open.close().await;
                return report;
            }
            if let Some(pause) = self.pause {
                sleep_until(start + pause.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX))).await;
            }
            let message = &self.messages[index % self.messages.len()];
            let renumbered = self.prefix.as_ref().and_then(|prefix| renumbered(&message.bytes, &format!("{prefix}{index:08}")));
            let sent = Instant::now();
            match open.send(renumbered.as_deref().unwrap_or(&message.bytes)).await {
                Ok((open, acknowledged)) => {
                    report.latencies.push(sent.elapsed());
                    *report.codes.entry(acknowledged.code).or_default() += 1;
                    if !acknowledged.code.is_positive() {
                        report.name(format!("{}: {}", message.place, acknowledged.code));
                    }
                    line = Some(open);
                }
                Err(reason) => {
                    *report.unacknowledged.entry(reason).or_default() += 1;
                    report.name(format!("{}: {reason}", message.place));
                }
            }
            self.bar.inc(1);
        }
    }
}

/// How it went.
#[derive(Default)]
struct Report {
    codes: BTreeMap<Code, usize>,
    unacknowledged: BTreeMap<Unacknowledged, usize>,
    latencies: Vec<Duration>,
    /// What was not accepted, by its place.
    named: Vec<String>,
    /// How many more there are.
    unnamed: usize,
    took: Duration,
}

impl Report {
    fn join(&mut self, other: Self) {
        other.codes.into_iter().for_each(|(code, count)| *self.codes.entry(code).or_default() += count);
        other.unacknowledged.into_iter().for_each(|(reason, count)| *self.unacknowledged.entry(reason).or_default() += count);
        self.latencies.extend(other.latencies);
        self.unnamed += other.unnamed;
        other.named.into_iter().for_each(|told| self.name(told));
    }

    fn name(&mut self, told: String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(told);
        } else {
            self.unnamed += 1;
        }
    }

    fn is_good(&self, total: usize) -> bool {
        self.codes.iter().filter(|(code, _)| code.is_positive()).map(|(_, count)| count).sum::<usize>() == total
    }

    fn text(&self, total: usize) -> String {
        let acknowledged = self.latencies.len();
        let seconds = self.took.as_secs_f64();
        let mut text =
            format!("{acknowledged} of {total} acknowledged in {seconds:.2} s: {:.1} a second\n", acknowledged as f64 / seconds.max(1e-9));
        let codes: Vec<String> = self.codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
        if !codes.is_empty() {
            text.push_str(&format!("codes: {}\n", codes.join(", ")));
        }
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        if let Some(longest) = latencies.last() {
            let at = |percent| milliseconds(percentile(&latencies, percent));
            text.push_str(&format!("latency: p50 {}, p90 {}, p99 {}, max {}\n", at(50), at(90), at(99), milliseconds(*longest)));
        }
        for (reason, count) in &self.unacknowledged {
            text.push_str(&format!("not acknowledged: {count} ({reason}); they may have arrived all the same\n"));
        }
        let sent = acknowledged + self.unacknowledged.values().sum::<usize>();
        if sent < total {
            text.push_str(&format!("not sent: {}\n", total - sent));
        }
        text
    }
}

/// The nearest rank: the least value that so many percent of all do not exceed. `sorted` is not empty.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 5), (90, 9), (99, 10)] {
            assert_eq!(percentile(&sorted, percent), Duration::from_millis(expected));
        }
        assert_eq!(percentile(&sorted[..1], 50), sorted[0]);
    }

    #[test]
    fn all_good_is_every_message_accepted() {
        let mut report = Report { took: Duration::from_secs(2), ..Report::default() };
        report.codes.insert(Code::AA, 2);
        report.latencies = vec![Duration::from_millis(1), Duration::from_millis(3)];
        assert!(report.is_good(2) && !report.is_good(3));
        assert_eq!(
            report.text(2),
            "2 of 2 acknowledged in 2.00 s: 1.0 a second\ncodes: AA 2\nlatency: p50 1.0 ms, p90 3.0 ms, p99 3.0 ms, max 3.0 ms\n"
        );
        let mut other = Report { named: vec!["a.hl7 message 0: AE".into()], ..Report::default() };
        other.codes.insert(Code::AE, 1);
        other.latencies.push(Duration::from_millis(2));
        other.unacknowledged.insert(Unacknowledged::Timeout, 1);
        report.join(other);
        assert!(!report.is_good(3));
        let text = report.text(5);
        assert!(text.contains("3 of 5") && text.contains("codes: AA 2, AE 1") && text.contains("not sent: 1"), "{text}");
        assert_eq!((report.named.len(), report.unnamed), (1, 0));
        (0..NAMED_MAX).for_each(|_| report.name("b.hl7 message 0: AE".into()));
        assert_eq!((report.named.len(), report.unnamed), (NAMED_MAX, 1));
        assert!(text.contains("not acknowledged: 1 (no acknowledgement in time)"), "{text}");
    }

    #[test]
    fn files_are_cut_as_convert_cuts_them_and_a_named_file_must_be_hl7() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1.hl7"), "BHS|^~\\&\rMSH|^~\\&|A\rMSH|^~\\&|B\rBTS|2\r").unwrap();
        std::fs::write(folder.path().join("2.xml"), "<a/>").unwrap();
        let found = messages(&[folder.path().to_owned()]).unwrap();
        assert_eq!(found.iter().map(|message| &message.bytes[..]).collect::<Vec<_>>(), [b"MSH|^~\\&|A\r", b"MSH|^~\\&|B\r"]);
        assert!(found[1].place.ends_with("1.hl7 message 1"));
        assert_eq!(messages(&[folder.path().join("2.xml")]).err().unwrap().code, 2);
        std::fs::remove_file(folder.path().join("1.hl7")).unwrap();
        assert_eq!(messages(&[folder.path().to_owned()]).err().unwrap().code, 2);
    }
}
