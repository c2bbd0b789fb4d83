use super::{Done, Failure, Options};
use crate::client::read_answer;
use crate::findings::{Facts, grouped, headline, judge};
use crate::serve::store;
use crate::store::FeedWatch;
use jiff::{Timestamp, tz::TimeZone};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// How long the gateway may take to say that it is ready.
const ANSWER_TIME: Duration = Duration::from_secs(3);

#[derive(clap::Args, Debug)]
pub struct Arguments {}

/// On one screen: does it run, what came of each feed and when, what waits, and what a person should look at.
pub fn run(options: &Options, _: &Arguments) -> Done {
    let config = options.load()?;
    let runs = ask(config.observe);
    let store = store(&config).map_err(Failure::failed)?;
    let facts = Facts::gather(config, &*store, Timestamp::now()).map_err(|error| Failure::failed(error.to_string()))?;
    println!("gateway   {}", runs.told());
    println!("store     {}", facts.config.store_directory.display());
    match facts.last_seal {
        Some(at) => println!("audit     last sealed {}", clock(at)),
        None => println!("audit     not sealed yet"),
    }
    println!();
    println!("{:14} {:8} {:>12} {:>10} {:>9}  last message", "feed", "adapter", "messages", "24 hours", "waiting");
    for feed in facts.config.feeds.values() {
        let unknown = FeedWatch::default();
        let watch = facts.feeds.iter().find(|watch| watch.feed == feed.name).unwrap_or(&unknown);
        let last = if watch.messages == 0 { "none yet".to_owned() } else { clock(watch.last) };
        println!(
            "{:14} {:8} {:>12} {:>10} {:>9}  {last}",
            feed.name,
            feed.adapter,
            grouped(watch.messages),
            grouped(watch.today),
            grouped(watch.waiting.map_or(0, |waiting| waiting.count))
        );
    }
    println!();
    let concerns = judge(&facts);
    println!("{}{}", headline(&concerns), if concerns.is_empty() { "" } else { " `landbridge findings` tells each." });
    Ok(ExitCode::from(u8::from(!matches!(runs, Runs::Ready))))
}

enum Runs {
    Ready,
    NotReady(String),
    Not(SocketAddr),
}

impl Runs {
    fn told(&self) -> String {
        match self {
            Runs::Ready => "runs, and is ready".into(),
            Runs::NotReady(why) => format!("runs, and is NOT ready: {why}"),
            Runs::Not(address) => format!("does not run (nobody answers at {address})"),
        }
    }
}

/// Asks the `observe` door.
fn ask(address: SocketAddr) -> Runs {
    let answer = TcpStream::connect_timeout(&address, ANSWER_TIME).and_then(|mut stream| {
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        read_answer(&mut stream)
    });
    match answer {
        Ok(answer) if answer.status == 200 => Runs::Ready,
        Ok(answer) => Runs::NotReady(String::from_utf8_lossy(&answer.body).trim().to_owned()),
        Err(_) => Runs::Not(address),
    }
}

/// In the zone of whoever reads it.
fn clock(at: Timestamp) -> String {
    TimeZone::system().to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
