//! The draft: each key of `[feed.NAME]` below its evidence, and below that what no key takes but a person should know.

use super::survey::{Assigner, Codes, Counts, Samples, Survey, Uses, counted, name};
use super::zones::Guess;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

const WIDTH: usize = 116;
/// So many of a list are written out.
const SHOWN_MAX: usize = 12;
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// What a sender of these messages is usually the first to know.
const OWNED: [(&str, &str); 2] =
    [("ADT", "\"Patient\", \"RelatedPerson\", \"Encounter\""), ("ORU", "\"DiagnosticReport\", \"Observation\", \"Specimen\"")];

pub fn draft(samples: &Samples, listener: &str) -> String {
    let mut page = Page::default();
    page.say(&format!(
        "Drafted by `landbridge learn` from {} in {}; among them {} and {}. {}.",
        counted(samples.messages(), "message"),
        counted(samples.files, "file"),
        counted(samples.batches, "batch file"),
        counted(samples.recordings, "MLLP recording"),
        capital(&samples.passed_over()),
    ));
    page.say(
        "Each key stands below its evidence. Decide each line marked DECIDE, add the sections to the configuration, and run `landbridge check`; \
         `landbridge config explain KEY` tells of each key.",
    );
    let mut senders: Vec<_> = samples.senders.iter().collect();
    senders.sort_by_key(|(sender, survey)| (usize::MAX - survey.messages, *sender));
    let mut names = BTreeSet::new();
    for ((application, facility), survey) in senders {
        let slug = slug(if application.is_empty() { facility } else { application });
        let feed =
            (1..).map(|number| if number == 1 { slug.clone() } else { format!("{slug}-{number}") }).find(|name| !names.contains(name));
        let feed = feed.unwrap_or_default();
        names.insert(feed.clone());
        Draft { page: &mut page, survey }.feed(&feed, application, facility, listener);
    }
    page.0
}

struct Draft<'s> {
    page: &'s mut Page,
    survey: &'s Survey,
}

impl Draft<'_> {
    fn feed(&mut self, feed: &str, application: &str, facility: &str, listener: &str) {
        let survey = self.survey;
        self.page.0.push('\n');
        self.page.say(&format!("Sent by {} (MSH-3, MSH-4): {}.", at(application, facility), counted(survey.messages, "message")));
        self.page.line(&format!("[feed.{feed}]"));
        self.page
            .say("DECIDE: the door it uses; and the DNS name in its client certificate, which no message tells. A plain door has no peer.");
        self.page.key("listener", &quoted(listener));
        self.page.key("adapter", "\"hl7v2\"");
        self.page.key("peer", &quoted(&format!("{feed}.hospital.example")));
        if !(application.is_empty() && facility.is_empty()) {
            self.page.key("sender", &party(application, facility));
        }
        self.receiver();
        self.timezone();
        self.character_set();
        self.accepts();
        self.counting();
        self.codes();
        self.assigners(feed);
    }

    fn receiver(&mut self) {
        let told: Vec<String> = self.survey.receivers.iter().map(|((one, two), count)| format!("{} {count}", at(one, two))).collect();
        self.page.say(&format!("Addressed to (MSH-5, MSH-6): {}.", list(&told)));
        let mut receivers = self.survey.receivers.keys();
        if let (Some((application, facility)), None) = (receivers.next(), receivers.next())
            && !(application.is_empty() && facility.is_empty())
        {
            self.page.key("receiver", &party(application, facility));
        } else {
            self.page.say("DECIDE: which of them is this gateway; without the key any receiver fits.");
        }
    }

    fn timezone(&mut self) {
        let Guess { zone, is_open, evidence } = self.survey.stamps.guess();
        self.page.say(&evidence);
        if is_open {
            self.page.say("DECIDE: the zone of this sender's clock; a wrong one shifts each time that states none.");
        }
        self.page.key("timezone", &quoted(zone));
    }

    fn character_set(&mut self) {
        let sets = &self.survey.character_sets;
        let told: Vec<String> = sets
            .iter()
            .map(|((declared, seen), count)| format!("{}, written {seen}: {count}", if declared.is_empty() { "none" } else { declared }))
            .collect();
        self.page.say(&format!("Character sets that MSH-18 declares, and what the bytes are: {}.", told.join("; ")));
        if self.survey.damaged > 0 {
            let damaged = counted(self.survey.damaged, "message");
            self.page.say(&format!("Bytes that are not of the declared set in {damaged}: tell the sender."));
        }
        let undeclared = |word: &str| {
            let is_silent = |declared: &str| declared.is_empty() || declared.eq_ignore_ascii_case("ASCII");
            sets.keys().any(|(declared, seen)| is_silent(declared) && *seen == word)
        };
        match (undeclared("UTF-8"), undeclared("not UTF-8")) {
            (true, false) => self.page.key("character_set", "\"UNICODE UTF-8\""),
            (_, true) => {
                self.page.say("DECIDE: bytes that no MSH-18 explains and that are not UTF-8; 8859/1 is the likeliest in western Europe.");
                self.page.key("character_set", "\"8859/1\"");
            }
            (false, false) => {}
        }
    }

    fn accepts(&mut self) {
        let survey = self.survey;
        self.page.say(&format!(
            "Versions (MSH-12): {}. Processing ids (MSH-11): {}.",
            counts(&survey.versions),
            counts(&survey.processing)
        ));
        if survey.processing.keys().any(|word| word != "P") {
            self.page.say("What is not of production (MSH-11 other than P) is held, and waits for a person.");
        }
        let told: Vec<String> = survey.types.iter().map(|(kind, found)| format!("{kind} {}", found.messages)).collect();
        self.page.say(&format!("Message types: {}.", told.join(", ")));
        let is_code = |code: &&str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let code = |kind: &str| kind.split('^').next().unwrap_or_default().to_owned();
        let (mut accepted, mut unsupported) = (BTreeSet::new(), Vec::new());
        for (kind, found) in &survey.types {
            let count = found.refused.get("unsupported").copied().unwrap_or_default();
            if count == found.messages {
                unsupported.push(format!("{kind} {count}"));
            } else {
                accepted.insert(code(kind));
            }
            for (word, count) in found.refused.iter().filter(|(word, _)| **word != "unsupported") {
                self.page.say(&format!("{kind}: {count} {word}; `landbridge convert` tells why."));
            }
        }
        if !unsupported.is_empty() {
            self.page.say(&format!(
                "Not translated by the tables as they are: {}. Where `accepts` names them they wait in quarantine, else they are refused.",
                unsupported.join(", ")
            ));
        }
        accepted.retain(|code| is_code(&code.as_str()));
        if accepted.is_empty() {
            self.page.say("DECIDE: nothing of it is translated yet; what is accepted is kept until tables are there.");
            accepted.extend(survey.types.keys().map(|kind| code(kind)).filter(|code| is_code(&code.as_str())));
            if accepted.is_empty() {
                accepted.insert("ADT".to_owned());
            }
        }
        let accepts: Vec<String> = accepted.iter().map(|code| quoted(code)).collect();
        self.page.key("accepts", &format!("[{}]", accepts.join(", ")));
        let owned: Vec<&str> = OWNED.iter().filter(|(code, _)| accepted.contains(*code)).map(|(_, kinds)| *kinds).collect();
        if !owned.is_empty() {
            self.page.say(&format!("DECIDE: where its word should outrank that of other feeds: owns = [{}]", owned.join(", ")));
        }
    }

    fn counting(&mut self) {
        let Survey { control_ids: ids, messages, .. } = self.survey;
        self.page.say(&format!(
            "Control ids (MSH-10): {} missing, {} sent again byte for byte, {} under the id of another message, {} made of digits alone.",
            ids.missing, ids.repeated, ids.reused, ids.numeric
        ));
        if ids.reused > 0 {
            self.page
                .say("Two contents under one id: each is taken, and a resent message cannot be told by its id alone. Tell the sender.");
        }
        let (with, distinct) = (self.survey.with_sequence_number, self.survey.sequence_numbers.len());
        self.page.say(&format!(
            "Sequence numbers (MSH-13): in {with} of {}, with {}.",
            counted(*messages, "message"),
            counted(distinct, "value")
        ));
        if with == *messages && distinct > 1 {
            self.page.say("DECIDE: if MSH-13 counts this sender's messages: sequence = \"MSH-13\"");
        } else if ids.numeric == *messages && ids.reused == 0 && *messages > 1 {
            self.page.say("DECIDE: if its control ids count its messages, and never begin again: sequence = \"control-id\"");
        }
    }

    fn codes(&mut self) {
        let survey = self.survey;
        let segments = survey.z_segments.iter().map(|(name, (count, fields))| {
            let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
            format!("{name} {count} (fields {})", fields.join(" "))
        });
        let segments: Vec<String> = segments.collect();
        if !segments.is_empty() {
            self.page.say(&format!("Z-segments, which no table reads: {}.", segments.join(", ")));
        }
        for ((field, system), codes) in &survey.local_codes {
            let system = if system.is_empty() { "no coding system".to_owned() } else { format!("coding system {system}") };
            self.page.say(&format!("{field}, {system}, which no table knows: {}.", shown(codes)));
        }
        for (place, codes) in &survey.unknown_codes {
            self.page.say(&format!("{place}, codes that its map does not have: {}.", shown(codes)));
        }
    }

    fn assigners(&mut self, feed: &str) {
        let survey = self.survey;
        for (field, count) in &survey.unassigned {
            self.page.say(&format!(
                "{field}: {} no assigner; they are this feed's own.",
                if *count == 1 { "1 number names".into() } else { format!("{count} numbers name") }
            ));
        }
        let visits: BTreeSet<&str> =
            survey.assigners.iter().filter(|(_, uses)| uses.is_of("PV1-19")).map(|(assigner, _)| assigner.key()).collect();
        if visits.len() > 1 {
            let visits: Vec<String> = visits.into_iter().map(shown_name).collect();
            self.page.say(&format!("DECIDE: visits (PV1-19) are numbered by {}; if that changes within a stay, name them in visit_assigners, the lasting one first.", visits.join(", ")));
        }
        // One line of configuration for a name, also where it comes with an OID and without.
        let mut systems: BTreeMap<&str, (String, &Assigner, &Uses)> = BTreeMap::new();
        for (assigner, uses) in survey.assigners.iter().filter(|(assigner, _)| name(assigner.key()).is_some()) {
            systems.entry(assigner.key()).or_insert_with(|| (assigner.system(), assigner, uses));
        }
        let hidden = survey.assigners.len() - survey.assigners.keys().filter(|assigner| name(assigner.key()).is_some()).count();
        let local = systems.iter().filter(|(_, (system, ..))| system != NHS_NUMBER).map(|(key, (_, _, uses))| (uses.patients, *key));
        let primary = local
            .filter(|(patients, key)| *patients > 0 && !key.contains(':'))
            .max_by_key(|(patients, key)| (*patients, std::cmp::Reverse(*key)));
        if let Some((patients, key)) = primary {
            self.page.say(&format!(
                "{} assigns a number of the patient (PID-3) in {} of {}.",
                shown_name(key),
                percent(patients, survey.messages),
                counted(survey.messages, "message")
            ));
            self.page.key("primary_assigner", &quoted(key));
        } else {
            self.page.say("DECIDE: no local assigner of PID-3 was seen; primary_assigner names whose number is the patient's key.");
        }
        self.page.line(&format!("\n[feed.{feed}.assigners]"));
        if hidden > 0 {
            self.page.say(&format!("DECIDE: {} with a text that may be more than a name, and is not shown.", counted(hidden, "assigner")));
        }
        for (key, (system, assigner, uses)) in &systems {
            let numbers: Vec<String> = uses
                .numbers
                .iter()
                .map(
                    |((field, kind), count)| {
                        if kind.is_empty() { format!("{field} {count}") } else { format!("{kind} in {field} {count}") }
                    },
                )
                .collect();
            let name = if assigner.oid.is_empty() || assigner.name.is_empty() {
                String::new()
            } else {
                format!(" ({})", shown_name(&assigner.name))
            };
            let share = percent(uses.messages, survey.messages);
            self.page.say(&format!("{}{name}: in {share} of messages: {}.", shown_name(key), list(&numbers)));
            if uses.fields().len() > 1 {
                let first = uses.numbers.keys().next_back().map(|(field, _)| field.as_str()).unwrap_or_default();
                self.page.say(&format!(
                    "If it numbers patients, visits and orders each in a series of its own, give each its system: \"{key}:{first}\"."
                ));
            }
            if system.starts_with("https://hospital.example/") {
                self.page.say("DECIDE: the URI of this identifier system.");
            }
            self.page.key(&quoted(key), &quoted(system));
        }
    }
}

impl Assigner {
    /// As the configuration names it.
    fn key(&self) -> &str {
        if self.oid.is_empty() { &self.name } else { &self.oid }
    }

    fn system(&self) -> String {
        if matches!(self.name.as_str(), "NHS" | "NHSNBR") || self.oid == "2.16.840.1.113883.2.1.4.1" {
            NHS_NUMBER.to_owned()
        } else if self.oid.is_empty() {
            format!("https://hospital.example/id/{}", slug(&self.name))
        } else {
            format!("urn:oid:{}", self.oid)
        }
    }
}

impl Uses {
    fn is_of(&self, place: &str) -> bool {
        self.numbers.keys().any(|(field, _)| field == place)
    }

    fn fields(&self) -> BTreeSet<&str> {
        self.numbers.keys().map(|(field, _)| field.split('-').next().unwrap_or_default()).collect()
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// A comment, in as many lines as it takes.
    fn say(&mut self, words: &str) {
        let mut line = String::from("#");
        for word in words.split_whitespace() {
            if line.len() + word.len() >= WIDTH && line.len() > 1 {
                self.line(&std::mem::replace(&mut line, "#".into()));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(&line);
    }

    fn key(&mut self, name: &str, value: &str) {
        self.line(&format!("{name} = {value}"));
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn party(application: &str, facility: &str) -> String {
    let parts = [("application", application), ("facility", facility)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, part)| !part.is_empty()).map(|(name, part)| format!("{name} = {}", quoted(part))).collect();
    format!("{{ {} }}", parts.join(", "))
}

/// `PAS at RXX`.
fn at(application: &str, facility: &str) -> String {
    match (application, facility) {
        ("", "") => "nobody".to_owned(),
        (application, "") => plain(application),
        ("", facility) => format!("an unnamed application at {}", plain(facility)),
        (application, facility) => format!("{} at {}", plain(application), plain(facility)),
    }
}

/// On one line: a header's names stand in the keys as they are.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

fn shown_name(text: &str) -> String {
    name(text).unwrap_or_else(|| "(not shown)".to_owned())
}

fn shown(codes: &Codes) -> String {
    let mut by_count: Vec<(&String, &usize)> = codes.shown.iter().collect();
    by_count.sort_by_key(|(code, count)| (usize::MAX - **count, *code));
    let mut told: Vec<String> = by_count.iter().take(SHOWN_MAX).map(|(code, count)| format!("{code} {count}")).collect();
    if by_count.len() > SHOWN_MAX {
        told.push(format!("{} more", by_count.len() - SHOWN_MAX));
    }
    if codes.hidden > 0 {
        told.push(format!("{} that look like no code and are not shown", codes.hidden));
    }
    told.join(", ")
}

fn counts<T: Display>(found: &Counts<T>) -> String {
    let told: Vec<String> = found
        .iter()
        .map(|(word, count)| format!("{word} {count}"))
        .map(|told| if told.starts_with(' ') { format!("none{told}") } else { told })
        .collect();
    list(&told)
}

fn list(told: &[String]) -> String {
    let more = told.len().saturating_sub(SHOWN_MAX);
    let shown = told[..told.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn percent(part: usize, whole: usize) -> String {
    format!("{} %", 100 * part / whole.max(1))
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A name for URLs and hosts.
fn slug(text: &str) -> String {
    let letters = text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' });
    let words: Vec<String> = letters.collect::<String>().split('-').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if words.is_empty() { "sender".to_owned() } else { words.join("-") }
}
