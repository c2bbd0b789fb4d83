use super::convert::bundle_of;
use super::desk::{By, Desk, files, read};
use super::serve::runtime;
use super::{Done, Failure, Options, operator, progress};
use crate::audit::Action;
use crate::compare::{Said, Summary, fhir, hl7v2, paired};
use crate::config::Config;
use crate::mllp::control_id;
use crate::serve::store;
use crate::store::{JournalFilter, SqliteStore, Store};
use ::hl7v2::batch;
use bytes::Bytes;
use contract::{Frame, Json};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Rows read at once.
const PAGE: usize = 1000;
/// Of values shown for one element.
const EXAMPLES_MAX: usize = 5;
/// Of messages without a pair, named one by one.
const NAMED_MAX: usize = 20;

/// Compare what another engine made of the same messages with what is here, and tell the difference by element
///
/// Each side is a file or folder (walked, sorted), or `feed:NAME`: the messages of a feed in the journal, as they came. Files hold
/// HL7 v2 (messages, batches, recordings) or FHIR JSON (a resource or Bundle a file, or a line of .ndjson). HL7 v2 is compared with
/// HL7 v2 by segment, field and component; FHIR with FHIR by element; and HL7 v2 with FHIR after it was translated here, as
/// `convert` does. In FHIR ids, meta, narrative and the ids in references are left out, since each server makes its own.
///
/// Messages are paired by control id: MSH-10, or Bundle.identifier; where none has a pair, or with --by-order, by their order.
/// Values are not shown without --values: they are patient data. Reading a feed is written down in the audit.
///
/// Exit code 0: each message has its pair, and nothing differs. 1: something does. 2: called wrongly, or a side cannot be read.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// What is here: a path, or feed:NAME
    #[arg(value_name = "OURS")]
    ours: String,
    /// What the other engine sent on: a path, or feed:NAME
    #[arg(value_name = "THEIRS")]
    theirs: String,
    #[command(flatten)]
    by: By,
    /// Pair the messages by their order
    #[arg(long)]
    by_order: bool,
    /// Leave out an element, with all below it: MSH-7, PID-3.4, Patient.name. May be given more than once
    #[arg(long, value_name = "ELEMENT")]
    ignore: Vec<String>,
    /// Tell elements in which nothing differs, too
    #[arg(long)]
    all: bool,
    /// Show values that differ, a few of each element. They are patient data
    #[arg(long)]
    values: bool,
    /// A line of JSON an element: element, same, differs, only_ours, only_theirs
    #[arg(long, conflicts_with = "values")]
    ndjson: bool,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let mut reader = Reader { options, by: &arguments.by, desk: None };
    let (ours, theirs) = (reader.side(&arguments.ours)?, reader.side(&arguments.theirs)?);
    let names = |side: &[Item]| -> Vec<Option<String>> { side.iter().map(|item| item.name.clone()).collect() };
    let (our_names, their_names) = (names(&ours), names(&theirs));
    let by_name = paired(our_names.iter().map(Option::as_deref), their_names.iter().map(Option::as_deref));
    let in_order = arguments.by_order || by_name.0.is_empty();
    let (pairs, only_ours, only_theirs) = if in_order { ordered(ours.len(), theirs.len()) } else { by_name };
    if in_order && !arguments.by_order {
        eprintln!("no message has a pair by control id: they are paired by their order");
    }
    let bar = progress::bar(pairs.len() as u64, "messages");
    let (mut summary, mut examples) = (Summary::default(), BTreeMap::<String, Vec<String>>::new());
    for &(one, other) in &pairs {
        let (ours, theirs) = (&ours[one], &theirs[other]);
        let mut said = reader.compare(ours, theirs)?;
        said.retain(|said| !arguments.ignore.iter().any(|ignored| is_below(&said.element, ignored)));
        summary.add(&said);
        if arguments.values {
            note(&mut examples, ours, &said);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    name_rest("only in ours", &ours, &only_ours);
    name_rest("only in theirs", &theirs, &only_theirs);
    let how = if in_order { "by their order" } else { "by control id" };
    // Whoever reads our output may be gone; the exit code tells all the same.
    let _ = print(arguments, &summary, &examples, how, (only_ours.len(), only_theirs.len()));
    let is_same = summary.equal == summary.messages && only_ours.is_empty() && only_theirs.is_empty();
    Ok(ExitCode::from(u8::from(!is_same)))
}

/// One message of a side.
struct Item {
    place: String,
    /// Its control id.
    name: Option<String>,
    source: Source,
}

enum Source {
    Read(Content),
    /// A frame of the journal: a feed may have more of them than there is memory.
    Kept(Arc<SqliteStore>, u64),
}

#[derive(Clone)]
enum Content {
    Hl7v2(Bytes),
    Fhir(Json),
}

impl Item {
    fn content(&self) -> Result<Content, Failure> {
        let (store, position) = match &self.source {
            Source::Read(content) => return Ok(content.clone()),
            Source::Kept(store, position) => (store, position),
        };
        let gone = || Failure::failed(format!("{}: not there any more", self.place));
        let (_, frame, _) = store.frame(*position).map_err(|error| Failure::failed(error.to_string()))?.ok_or_else(gone)?;
        Ok(Content::Hl7v2(frame.bytes().clone()))
    }
}

struct Reader<'a> {
    options: &'a Options,
    by: &'a By,
    /// Translates, once that is needed.
    desk: Option<Desk>,
}

impl Reader<'_> {
    fn side(&self, side: &str) -> Result<Vec<Item>, Failure> {
        let items = match side.strip_prefix("feed:") {
            Some(feed) => feed_of(&self.options.load()?, feed)?,
            None => files_of(Path::new(side))?,
        };
        if items.is_empty() { Err(Failure::usage(format!("{side}: holds no message"))) } else { Ok(items) }
    }

    fn compare(&mut self, ours: &Item, theirs: &Item) -> Result<Vec<Said>, Failure> {
        let (our_content, their_content) = (ours.content()?, theirs.content()?);
        if let (Content::Hl7v2(one), Content::Hl7v2(other)) = (&our_content, &their_content) {
            return hl7v2::compare(one, other).map_err(|(side, issue)| {
                let place = if side == hl7v2::Side::Ours { &ours.place } else { &theirs.place };
                Failure::usage(format!("{place}: {issue}"))
            });
        }
        let (one, other) = (self.fhir(ours, our_content)?, self.fhir(theirs, their_content)?);
        Ok(fhir::compare(&one, &other))
    }

    /// A message that cannot be translated is as if nothing were said: that shows.
    fn fhir(&mut self, item: &Item, content: Content) -> Result<Json, Failure> {
        let bytes = match content {
            Content::Fhir(json) => return Ok(json),
            Content::Hl7v2(bytes) => bytes,
        };
        let desk = match &mut self.desk {
            Some(desk) => desk,
            none => none.insert(Desk::new(self.options, self.by)?),
        };
        let dialect = desk.dialect(&bytes).ok_or_else(|| Failure::usage(format!("{}: of no known dialect", item.place)))?;
        let frame = Frame::new(bytes);
        let (adapter, settings) = desk.adapter(&*dialect, &frame);
        Ok(bundle_of(&*adapter, &frame, &settings).unwrap_or_else(|issues| {
            issues.iter().for_each(|issue| eprintln!("{}: {issue}", item.place));
            Json::object()
        }))
    }
}

/// The messages of a feed, as they came. Access to patient data: written down before it is used.
fn feed_of(config: &Config, feed: &str) -> Result<Vec<Item>, Failure> {
    if !config.feeds.contains_key(feed) {
        let known = config.feeds.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(format!("no feed {feed} is configured; there are {known}")));
    }
    if !config.store_directory.join("landbridge.db").is_file() {
        return Err(Failure::usage(format!("{} holds no store yet", config.store_directory.display())));
    }
    let store = store(config).map_err(Failure::failed)?;
    let failed = |error: crate::store::StoreError| Failure::failed(error.to_string());
    runtime()?.block_on(written_down(&store, feed))?;
    let (mut items, mut filter) = (Vec::new(), JournalFilter { feed: Some(feed.to_owned()), ..JournalFilter::default() });
    loop {
        let rows = store.journal(&filter, PAGE).map_err(failed)?;
        let Some(last) = rows.last().map(|row| row.position) else { return Ok(items) };
        filter.after = last;
        items.extend(rows.into_iter().map(|row| Item {
            place: format!("feed {feed} position {}", row.position),
            name: Some(row.control_id).filter(|name| !name.is_empty()),
            source: Source::Kept(store.clone(), row.position),
        }));
    }
}

async fn written_down(store: &Arc<SqliteStore>, feed: &str) -> Result<(), Failure> {
    let entry = operator::entry(Action::JournalShow, format!("compare feed:{feed}"), None, Timestamp::now());
    store.record(entry).await.map_err(|error| Failure::failed(error.to_string()))
}

fn files_of(path: &Path) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    for (path, named) in files(&[path.to_owned()])? {
        let bytes = read(&path).map_err(Failure::usage)?;
        if batch::recognises(&bytes) {
            let frames = batch::frames(&bytes).into_iter().enumerate();
            items.extend(frames.map(|(index, frame)| message(format!("{} message {index}", path.display()), frame.bytes().clone())));
        } else if let Some(found) = resources(&path, &bytes)? {
            items.extend(found);
        } else if named {
            return Err(Failure::usage(format!("{}: neither HL7 v2 nor FHIR JSON", path.display())));
        }
    }
    Ok(items)
}

/// FHIR JSON: one a file, or one a line. `None`: it is none.
fn resources(path: &Path, bytes: &Bytes) -> Result<Option<Vec<Item>>, Failure> {
    let is_json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_json {
        return Ok(None);
    }
    let item = |place: String, json: Json| Item {
        name: fhir::control_id(&json).map(str::to_owned),
        place,
        source: Source::Read(Content::Fhir(json)),
    };
    let wrong = |place: &str, error| Failure::usage(format!("{place}: {error}"));
    if path.extension().is_some_and(|extension| extension == "ndjson") {
        let lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
        let read = lines.map(|(number, line)| {
            let place = format!("{} line {number}", path.display());
            let json = Json::parse(line).map_err(|error| wrong(&place, error))?;
            // As `convert --ndjson` writes it.
            let json = json.get("bundle").cloned().unwrap_or(json);
            Ok(item(place, json))
        });
        return read.collect::<Result<_, _>>().map(Some);
    }
    let place = path.display().to_string();
    let json = Json::parse(bytes).map_err(|error| wrong(&place, error))?;
    Ok(Some(vec![item(place, json)]))
}

fn message(place: String, bytes: Bytes) -> Item {
    Item { place, name: control_id(&bytes), source: Source::Read(Content::Hl7v2(bytes)) }
}

fn ordered(ours: usize, theirs: usize) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
    let both = ours.min(theirs);
    ((0..both).map(|at| (at, at)).collect(), (both..ours).collect(), (both..theirs).collect())
}

/// `PID-3` takes `PID-3.1` with it, `Patient.name` takes `Patient.name.family`.
fn is_below(element: &str, ignored: &str) -> bool {
    element.strip_prefix(ignored).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

fn note(examples: &mut BTreeMap<String, Vec<String>>, ours: &Item, said: &[Said]) {
    for said in said.iter().filter(|said| !said.is_same()) {
        let of = examples.entry(said.element.clone()).or_default();
        if of.len() < EXAMPLES_MAX {
            let value = |side: &Option<String>| side.as_deref().map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"));
            of.push(format!("{}: {} ours, {} theirs", ours.place, value(&said.ours), value(&said.theirs)));
        }
    }
}

fn name_rest(what: &str, side: &[Item], rest: &[usize]) {
    for at in rest.iter().take(NAMED_MAX) {
        eprintln!("{what}: {}", side[*at].place);
    }
    if rest.len() > NAMED_MAX {
        eprintln!("{what}: {} more", rest.len() - NAMED_MAX);
    }
}

fn print(
    arguments: &Arguments,
    summary: &Summary,
    examples: &BTreeMap<String, Vec<String>>,
    how: &str,
    (only_ours, only_theirs): (usize, usize),
) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let told = summary.elements.iter().filter(|(_, count)| arguments.all || !count.is_same());
    if arguments.ndjson {
        for (element, count) in told {
            let number = |number: u64| Json::Number(number.to_string().into());
            let line: Json = [
                ("element", Json::from(element.as_str())),
                ("same", number(count.same)),
                ("differs", number(count.differs)),
                ("only_ours", number(count.only_ours)),
                ("only_theirs", number(count.only_theirs)),
            ]
            .into_iter()
            .collect();
            writeln!(out, "{line}")?;
        }
        return out.flush();
    }
    writeln!(out, "{} pairs {how}: {} alike; {only_ours} only in ours, {only_theirs} only in theirs", summary.messages, summary.equal)?;
    let told: Vec<_> = told.collect();
    let width = told.iter().map(|(element, _)| element.len()).max().unwrap_or_default().max("element".len());
    if !told.is_empty() {
        writeln!(out, "{:width$}  {:>8} {:>8} {:>10} {:>12}", "element", "same", "differs", "only ours", "only theirs")?;
    }
    for (element, count) in told {
        writeln!(out, "{element:width$}  {:>8} {:>8} {:>10} {:>12}", count.same, count.differs, count.only_ours, count.only_theirs)?;
        for example in examples.get(element).into_iter().flatten() {
            writeln!(out, "  {example}")?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_left_out_with_all_below_it_and_nothing_beside() {
        for (element, ignored, below) in [
            ("MSH-7.1", "MSH-7", true),
            ("MSH-7.1", "MSH", true),
            ("MSH-7.1", "MSH-7.1", true),
            ("PID-33.1", "PID-3", false),
            ("Patient.name.family", "Patient.name", true),
            ("Patient.nameless", "Patient.name", false),
        ] {
            assert_eq!(is_below(element, ignored), below, "{element} {ignored}");
        }
    }

    #[test]
    fn a_side_is_read_as_what_its_files_hold() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("1.hl7", "MSH|^~\\&|A|B|C|D|1||ADT^A01|C1|P|2.5\rPID|1\r");
        write("2.json", "{\"resourceType\":\"Bundle\",\"identifier\":{\"value\":\"C2\"}}");
        write(
            "3.ndjson",
            "{\"bundle\":{\"resourceType\":\"Bundle\",\"identifier\":{\"value\":\"C3\"}}}\n\n{\"resourceType\":\"Patient\"}\n",
        );
        write("4.txt", "a note");
        let items = files_of(folder.path()).map_err(|failure| failure.reason).unwrap();
        let names: Vec<Option<&str>> = items.iter().map(|item| item.name.as_deref()).collect();
        assert_eq!(names, [Some("C1"), Some("C2"), Some("C3"), None]);
        assert!(items[3].place.ends_with("3.ndjson line 3"));
        write("5.json", "{\"resourceType\":");
        assert_eq!(files_of(folder.path()).err().map(|failure| failure.code), Some(2));
        assert_eq!(files_of(&folder.path().join("4.txt")).err().map(|failure| failure.code), Some(2));
        assert_eq!(ordered(3, 1), (vec![(0, 0)], vec![1, 2], vec![]));
    }
}
