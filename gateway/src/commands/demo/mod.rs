//! `landbridge demo`: a made-up hospital day through the real doors, read back, refused and audited. Each thing that is
//! said to be so is checked.

mod day;
mod folder;
mod show;

use super::serve::{open, runtime};
use super::token::{self, Signer};
use super::{Done, Failure, audit};
use crate::client::{Answer, App, Sender};
use crate::config::Config;
use crate::observe::logs;
use crate::serve::Running;
use crate::signals::Signals;
use day::{BARNABY, Expected, MARIGOLD, MARIGOLD_AGAIN, NHS_SYSTEM, Person};
use folder::Folder;
use jiff::Timestamp;
use serde_json::Value;
use show::{Show, quoted, shown};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The audit is sealed every 10 seconds; a machine under load is forgiven the rest.
const SEAL_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The working folder; the data of an earlier demo in it is taken away
    #[arg(long, value_name = "DIR", default_value = "./landbridge-demo")]
    dir: PathBuf,
    /// End after the last step: exit code 0 only if each step did what it said
    #[arg(long)]
    once: bool,
}

pub fn run(arguments: &Arguments) -> Done {
    if std::env::var_os(logs::LEVEL_VARIABLE).is_some() {
        logs::start();
    }
    let now = Timestamp::now();
    let dir = std::path::absolute(&arguments.dir).map_err(|error| Failure::usage(error.kind().to_string()))?;
    println!("A made-up hospital day through Landbridge. Nobody in it exists.");
    let (folder, config) = Folder::open(&dir, now).map_err(Failure::failed)?;
    let runtime = runtime()?;
    let running = runtime.block_on(open(&config, None)).map_err(Failure::failed)?;
    // The gateway runs on threads of its own; the demo is a client like any other.
    let mut demo = Demo::new(folder, config, &running).map_err(Failure::failed)?;
    let told = demo.tell(now);
    let failed = demo.show.failed();
    match (&told, failed) {
        (Ok(()), 0) => println!("\nEach step did what it said."),
        (Ok(()), failed) => println!("\n{failed} things were NOT as they should be."),
        (Err(reason), _) => println!("\nThe demo broke off: {reason}"),
    }
    if !arguments.once {
        let signals = runtime.block_on(async { Signals::new() }).map_err(|error| Failure::failed(error.kind().to_string()))?;
        println!("The gateway stays up: try the commands above. Ctrl-C ends it.");
        runtime.block_on(running.until_told_to_stop(signals));
    }
    runtime.block_on(running.shutdown()).map_err(Failure::failed)?;
    Ok(ExitCode::from(u8::from(told.is_err() || failed > 0)))
}

struct Demo {
    folder: Folder,
    config: Config,
    signer: Signer,
    https: SocketAddr,
    mllp: SocketAddr,
    observe: SocketAddr,
    show: Show,
}

impl Demo {
    fn new(folder: Folder, config: Config, running: &Running) -> Result<Self, String> {
        let door = |name: &str| running.addresses.get(name).copied().ok_or_else(|| format!("no door {name}"));
        Ok(Self {
            signer: Signer::of(&config)?,
            https: door("https")?,
            mllp: door("mllp.main")?,
            observe: door("observe")?,
            show: Show::default(),
            folder,
            config,
        })
    }

    fn tell(&mut self, now: Timestamp) -> Result<(), String> {
        self.show.step(1, "A gateway of its own");
        self.look_around()?;
        self.show.step(2, "A hospital day comes in");
        self.send(now)?;
        self.show.step(3, "An app reads it back");
        let marigold = self.read()?;
        self.show.step(4, "What is refused, and what the audit says");
        self.be_refused(&marigold)?;
        self.verify()?;
        self.show.step(5, "Look around");
        self.point_on();
        Ok(())
    }

    fn look_around(&mut self) -> Result<(), String> {
        let path = &self.folder.path;
        for (file, what) in [
            ("landbridge.toml", "the configuration, with a comment for each setting"),
            ("tls/ca.pem", "a development certificate authority; server and client certificates of it"),
            ("keys/id.key", "the key of resource ids"),
            ("keys/seal.key", "the key that seals the audit"),
            ("keys/issuer.key", "the key that signs development tokens"),
        ] {
            self.show.check(path.join(file).is_file(), format!("{}: {what}", shown(&path.join(file))));
        }
        let capabilities = self.ask("/metadata", None)?;
        self.show.check(capabilities.json()["fhirVersion"] == "4.0.1", format!("FHIR R4 is served at {}", self.config.https.base_url));
        self.show.command(self.curl("/metadata", None));
        self.show.check(true, format!("HL7 v2 is taken in at {} over TLS, from senders with a certificate", self.mllp));
        self.show.check(true, format!("health and metrics, without patient data: http://{}/metrics", self.observe));
        self.show.command(format!("curl -s http://{}/readyz", self.observe));
        Ok(())
    }

    /// The day's messages, each on the line of its sender.
    fn send(&mut self, now: Timestamp) -> Result<(), String> {
        let mut lines = BTreeMap::new();
        for client in ["pas", "lab"] {
            let line = Sender::connect(self.mllp, &self.folder.path, Some(client));
            lines.insert(client, line.map_err(|error| format!("the MLLP door does not open for {client}: {error}"))?);
        }
        let mut replies: BTreeMap<&str, String> = BTreeMap::new();
        for sent in day::messages(now) {
            self.folder.keep(&format!("{}.hl7", sent.name), &sent.bytes)?;
            let line = lines.get_mut(sent.client).ok_or("no such line")?;
            let reply = line.send(&sent.bytes).map_err(|error| format!("{}: {error}", sent.name))?;
            let code = acknowledgement(&reply);
            let (holds, after) = match sent.expected {
                Expected::Acknowledged(expected) => (code == expected && names(&reply, &sent.bytes), code.to_owned()),
                Expected::Refused => (["AE", "AR"].contains(&code), format!("{code}, and kept in the journal")),
                Expected::SameAs(first) => {
                    (replies.get(first) == Some(&reply), format!("{code}, the first reply again; nothing is stored twice"))
                }
            };
            self.show.check(holds, format!("{:17} {:4} {} -> {after}", sent.name, sent.client, sent.tale));
            replies.insert(sent.name, reply);
        }
        let letter = self.folder.keep("15-letter.xml", &day::document(now))?;
        let answer = self.post("docs", &day::document(now))?;
        self.show.check(
            answer.status == 201,
            format!("{:17} {:4} the letter to her doctor, CDA over HTTPS -> {}", "15-letter", "docs", answer.status),
        );
        let clients = self.folder.path.join("clients");
        self.show.command(format!(
            "curl -s --cacert {} --cert {} --key {} -H 'Content-Type: application/xml' --data-binary @{} {}",
            shown(&self.folder.path.join("tls/ca.pem")),
            shown(&clients.join("docs.pem")),
            shown(&clients.join("docs.key")),
            shown(&letter),
            self.url("/ingest/docs"),
        ));
        let stranger = self.post("app", &day::document(now))?;
        self.show.check(stranger.status == 403, format!("the same letter with another client's certificate -> {}", stranger.status));
        self.show.look("The messages are kept, to be looked at and sent again:");
        let example = self.folder.path.join("messages/03-A01.hl7");
        self.show.command(format!("{} explain {}", binary(), shown(&example)));
        self.show.command(format!(
            "(printf '\\013'; cat {}; printf '\\034\\015'; sleep 1) | openssl s_client -quiet -no_ign_eof -connect {} -CAfile {} -cert {} -key {} 2>/dev/null | tr '\\r' '\\n'",
            shown(&example),
            self.mllp,
            shown(&self.folder.path.join("tls/ca.pem")),
            shown(&clients.join("pas.pem")),
            shown(&clients.join("pas.key")),
        ));
        self.show.command(format!("{} journal list{}", binary(), self.with_config()));
        Ok(())
    }

    /// Reads as a clinical app would, and gives Marigold's id.
    fn read(&mut self) -> Result<String, String> {
        let scope = "system/*.rs";
        let by_number = |person: &Person| format!("/Patient?identifier={NHS_SYSTEM}|{}", person.nhs);
        let found = self.search(&by_number(&MARIGOLD), scope)?;
        let marigold = found.first().and_then(id).unwrap_or_default();
        let holds =
            found.len() == 1 && found[0]["name"][0]["family"] == MARIGOLD.family && found[0]["address"][0]["line"][0] == "7 Alder Mews";
        self.show.check(holds, "the patient by NHS number: one, and she lives where she moved to");
        self.show.command(self.curl(&by_number(&MARIGOLD), Some((scope, None))));

        let path = format!("/Encounter?patient={marigold}");
        let stays = self.search(&path, scope)?;
        let wards = locations(stays.first());
        let holds = stays.len() == 1
            && stays[0]["status"] == "finished"
            && wards.len() == 2
            && wards[0].contains("AMBER")
            && wards[1].contains("BIRCH");
        self.show.check(holds, "her stay: one, finished, AMBER then BIRCH, though the move was told after the discharge");
        self.show.command(self.curl(&path, Some((scope, None))));

        let path = format!("/Observation?patient={marigold}&code=http://loinc.org|2823-3");
        let results = self.search(&path, scope)?;
        let holds = results.len() == 1 && results[0]["status"] == "corrected";
        self.show.check(holds, "her potassium: one result, corrected");
        self.show.command(self.curl(&path, Some((scope, None))));

        let path = format!("/Observation/{}/_history", results.first().and_then(id).unwrap_or_default());
        let history = self.get(&path, scope, None)?;
        let text = String::from_utf8_lossy(&history.body).into_owned();
        let versions: Vec<String> =
            entries(&history.json()).iter().filter_map(|version| version["status"].as_str().map(str::to_owned)).collect();
        let holds = versions == ["corrected", "final", "preliminary"] && text.contains("\"value\":6.30") && text.contains("\"value\":5.10");
        self.show.check(holds, "its history: preliminary 6.30, final 6.30, corrected 5.10, each digit as it was written");
        self.show.command(self.curl(&path, Some((scope, None))));

        let path = format!("/DiagnosticReport?patient={marigold}");
        let reports = self.search(&path, scope)?;
        self.show.check(reports.len() == 1, "the report that the result belongs to");
        self.show.command(self.curl(&path, Some((scope, None))));

        let path = format!("/DocumentReference?patient={marigold}");
        let letters = self.search(&path, scope)?;
        self.show.check(
            letters.len() == 1 && letters[0]["status"] == "current",
            "the letter, found under the same patient though it came as XML",
        );
        self.show.command(self.curl(&path, Some((scope, None))));

        let path = format!("/Patient?identifier=https://hospital.example/id/mrn|{}", MARIGOLD_AGAIN.number);
        let again = self.search(&path, scope)?;
        let link = &again.first().map_or(&Value::Null, |patient| &patient["link"][0]);
        let holds = again.len() == 1
            && again[0]["active"] == false
            && link["type"] == "replaced-by"
            && link["other"]["reference"] == format!("Patient/{marigold}");
        self.show.check(holds, "her second number: inactive, replaced by the first");
        self.show.command(self.curl(&path, Some((scope, None))));
        Ok(marigold)
    }

    fn be_refused(&mut self, marigold: &str) -> Result<(), String> {
        let path = format!("/Patient/{marigold}");
        let answer = self.ask(&path, None)?;
        self.show.check(answer.status == 401, format!("no token -> {}", answer.status));
        self.show.command(self.curl(&path, None));

        let path = format!("/Observation?patient={marigold}");
        let answer = self.get(&path, "system/Patient.rs", None)?;
        self.show.check(answer.status == 403, format!("a token for patients asks for results -> {}", answer.status));
        self.show.command(self.curl(&path, Some(("system/Patient.rs", None))));

        let scope = "patient/*.rs";
        let mine = self.get(&format!("/Patient/{marigold}"), scope, Some(marigold))?;
        self.show.check(mine.status == 200, format!("Marigold's own app reads Marigold -> {}", mine.status));
        let barnaby = self.search(&format!("/Patient?identifier={NHS_SYSTEM}|{}", BARNABY.nhs), "system/*.rs")?;
        let barnaby = barnaby.first().and_then(id).unwrap_or_default();
        let never = "00000000-0000-8000-8000-000000000000";
        let path = format!("/Patient/{barnaby}");
        let hidden = self.get(&path, scope, Some(marigold))?;
        let absent = self.get(&format!("/Patient/{never}"), scope, Some(marigold))?;
        let words = |answer: &Answer, id: &str| String::from_utf8_lossy(&answer.body).replace(id, "ID");
        let holds =
            !barnaby.is_empty() && hidden.status == 404 && absent.status == 404 && words(&hidden, &barnaby) == words(&absent, never);
        self.show.check(holds, format!("and Barnaby -> {}, word for word as if he had never been", hidden.status));
        self.show.command(self.curl(&path, Some((scope, Some(marigold)))));

        let path = format!("/AuditEvent?patient={marigold}");
        let events = self.search(&path, "system/AuditEvent.rs")?;
        self.show.check(!events.is_empty(), format!("who has seen Marigold, and who spoke of her: {} AuditEvents", events.len()));
        self.show.command(self.curl(&path, Some(("system/AuditEvent.rs", None))));
        Ok(())
    }

    fn verify(&mut self) -> Result<(), String> {
        self.sealed();
        let data = self.config.store_directory.clone();
        let key = self.config.seal_key.with_extension("pub");
        let seals = self.config.seals.clone();
        let report = audit::check(&data, Some(&seals), &key)?;
        let holds = report.is_intact() && report.seals > 0 && report.seals_outside > 0;
        self.show.check(holds, format!("the audit is intact: {} entries, sealed and signed", report.entries));
        self.show.command(format!("{} audit verify{}", binary(), self.with_config()));

        let copy = self.folder.path.join("tampered");
        let copied = copy_store(&data, &seals, &copy)?;
        let before = audit::check(&copy, Some(&copied), &key)?;
        let changed = turn_a_refusal_into_a_success(&copy)?;
        let after = audit::check(&copy, Some(&copied), &key)?;
        let holds = before.is_intact() && changed && !after.is_intact();
        self.show.check(holds, "in a copy of it one byte is changed, which makes a refused read a granted one: found");
        for fault in &after.faults {
            self.show.look(fault.to_string());
        }
        self.show.command(format!("{} audit verify{} --directory {}", binary(), self.with_config(), shown(&copy)));
        Ok(())
    }

    /// Waits until the audit was sealed once. Where no seal comes, the check says so.
    fn sealed(&self) {
        let seals = self.config.seals.clone();
        self.show.look("(the audit is sealed every 10 seconds; waiting for the first seal)");
        let began = Instant::now();
        while std::fs::metadata(&seals).map_or(0, |data| data.len()) == 0 && began.elapsed() < SEAL_TIME_MAX {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn point_on(&self) {
        for (what, command) in [
            ("what arrived and what became of it; what waits, and why:", format!("journal list{}", self.with_config())),
            ("one message, as it came (this access is written down):", format!("journal show 3{}", self.with_config())),
            ("translate without storing:", format!("convert --pretty {}", shown(&self.folder.path.join("messages/03-A01.hl7")))),
            ("a token for an app of your own:", format!("token --scope 'system/*.rs'{}", self.with_config())),
        ] {
            self.show.look(what);
            self.show.command(format!("{} {command}", binary()));
        }
    }

    /// The resources of a search.
    fn search(&self, path: &str, scope: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(path, scope, None)?;
        Ok(entries(&answer.json()))
    }

    fn get(&self, path: &str, scope: &str, patient: Option<&str>) -> Result<Answer, String> {
        let arguments = token::Arguments {
            scope: scope.to_owned(),
            patient: patient.map(str::to_owned),
            user: None,
            client: "landbridge-demo".to_owned(),
            expires: 300,
        };
        let token = self.signer.sign(&arguments, Timestamp::now())?;
        self.ask(path, Some(token))
    }

    /// GET of a FHIR path.
    fn ask(&self, path: &str, token: Option<String>) -> Result<Answer, String> {
        let app = App { address: self.https, folder: self.folder.path.clone(), token, certificate: None };
        app.get(&self.path(path)).map_err(|error| format!("GET {}: {error}", path.split('?').next().unwrap_or_default()))
    }

    /// A document, from the client whose certificate is shown.
    fn post(&self, client: &str, document: &[u8]) -> Result<Answer, String> {
        let app = App { address: self.https, folder: self.folder.path.clone(), token: None, certificate: Some(client.to_owned()) };
        let sent = app.request("POST", "/ingest/docs", &[("Content-Type", "application/xml")], document);
        sent.map_err(|error| format!("POST /ingest/docs: {error}"))
    }

    /// The path of a FHIR URL.
    fn path(&self, rest: &str) -> String {
        let base = self.config.https.base_url.splitn(4, '/').nth(3).unwrap_or_default();
        format!("/{base}{rest}")
    }

    /// A URL outside FHIR.
    fn url(&self, path: &str) -> String {
        let base = &self.config.https.base_url;
        let origin = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        format!("{origin}{path}")
    }

    fn with_config(&self) -> String {
        format!(" --config {}", shown(&self.config.file))
    }

    /// The request as a `curl` line, with a token made on the spot.
    fn curl(&self, rest: &str, token: Option<(&str, Option<&str>)>) -> String {
        let mut line = format!("curl -s --cacert {}", shown(&self.folder.path.join("tls/ca.pem")));
        if let Some((scope, patient)) = token {
            let patient = patient.map(|id| format!(" --patient {}", quoted(id))).unwrap_or_default();
            let token = format!("{} token{} --scope {}{patient}", binary(), self.with_config(), quoted(scope));
            line.push_str(&format!(" -H \"Authorization: Bearer $({token})\""));
        }
        format!("{line} {}", quoted(&format!("{}{rest}", self.config.https.base_url)))
    }
}

/// How this program was started.
fn binary() -> String {
    std::env::current_exe().map_or_else(|_| "landbridge".into(), |path| shown(&path))
}

/// MSA-1.
fn acknowledgement(reply: &str) -> &str {
    reply.split('\r').find_map(|segment| segment.strip_prefix("MSA|")).and_then(|rest| rest.split('|').next()).unwrap_or("no MSA")
}

/// Whether MSA-2 is the message's MSH-10.
fn names(reply: &str, message: &[u8]) -> bool {
    let message = String::from_utf8_lossy(message);
    let control = message.split('\r').next().and_then(|head| head.split('|').nth(9)).unwrap_or_default();
    let answered = reply.split('\r').find_map(|segment| segment.strip_prefix("MSA|")).and_then(|rest| rest.split('|').nth(1));
    answered == Some(control)
}

fn entries(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["search"]["mode"] != "outcome").map(|entry| entry["resource"].clone()).collect()
}

fn id(resource: &Value) -> Option<String> {
    resource["id"].as_str().map(str::to_owned)
}

/// What each location of an Encounter says of itself, in order.
fn locations(encounter: Option<&Value>) -> Vec<String> {
    let locations = encounter.and_then(|encounter| encounter["location"].as_array());
    locations.into_iter().flatten().map(|location| location["location"].to_string()).collect()
}

/// A copy of the store as it is now, without disturbing it. The seals come first: what they cover by now is in the store.
fn copy_store(from: &Path, seals: &Path, to: &Path) -> Result<PathBuf, String> {
    let wrong = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    std::fs::create_dir_all(to).map_err(|error| wrong(to, &error.kind()))?;
    let copied = to.join(seals.file_name().unwrap_or_default());
    std::fs::copy(seals, &copied).map_err(|error| wrong(seals, &error.kind()))?;
    for name in ["landbridge.db", "access.db"] {
        let (source, target) = (from.join(name), to.join(name));
        let open = rusqlite::Connection::open_with_flags(&source, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connection = open.map_err(|error| wrong(&source, &error))?;
        connection.execute("VACUUM INTO ?1", [target.to_string_lossy()]).map_err(|error| wrong(&target, &error))?;
    }
    Ok(copied)
}

/// Changes one byte of the audit of reads, as a person with the file could: the outcome in the first refusal.
fn turn_a_refusal_into_a_success(copy: &Path) -> Result<bool, String> {
    const REFUSED: &[u8] = b"\"outcome\":4";
    let path = copy.join("access.db");
    let change = || -> rusqlite::Result<bool> {
        let connection = rusqlite::Connection::open(&path)?;
        let first = "SELECT id, payload FROM audit WHERE outcome = 4 ORDER BY id LIMIT 1";
        let (id, mut payload): (i64, Vec<u8>) = connection.query_row(first, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(at) = payload.windows(REFUSED.len()).position(|window| window == REFUSED) else { return Ok(false) };
        payload[at + REFUSED.len() - 1] = b'0';
        Ok(connection.execute("UPDATE audit SET payload = ?2 WHERE id = ?1", (id, payload))? == 1)
    };
    change().map_err(|error| format!("{}: {error}", path.display()))
}
