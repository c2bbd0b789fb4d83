use super::token::Signer;
use super::{Done, Failure, serve, token};
use crate::audit::chain::{SealPublic, verify};
use crate::client::{Answer, App, Sender};
use crate::config::Config;
use crate::development;
use crate::serve::Running;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A file that says that a folder is a demo's and may be made anew.
const MARK: &str = ".landbridge-demo";
const NHS_NUMBER: &str = "9990000018";

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The working folder; one of an earlier demo is made anew
    #[arg(long, value_name = "DIR", default_value = "landbridge-demo")]
    dir: PathBuf,
    /// End after the last step; exit code 0 only if each step did what it said
    #[arg(long)]
    once: bool,
}

/// A made-up hospital day through the real doors.
pub fn run(arguments: &Arguments) -> Done {
    let config = folder(&arguments.dir)?;
    let runtime = serve::runtime()?;
    let running = runtime.block_on(serve::open(&config, None)).map_err(Failure::failed)?;
    let mut show = Show::new(&arguments.dir, &config, &running)?;
    let told = show.day();
    if let Err(reason) = &told {
        eprintln!("\nThe demo broke off: {reason}");
    }
    let good = told.is_ok() && show.failed == 0;
    println!("\n{} steps, {} of them did not do what they said.", show.steps, show.failed);
    if arguments.once {
        runtime.block_on(running.shutdown()).map_err(Failure::failed)?;
    } else {
        println!("The gateway stays up, so that you can repeat each line above. Ctrl-C ends it.");
        runtime.block_on(running.until_told_to_stop()).map_err(|error| Failure::failed(format!("no signals: {}", error.kind())))?;
        runtime.block_on(running.shutdown()).map_err(Failure::failed)?;
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// Makes the working folder. Ports that are taken are replaced by free ones.
fn folder(dir: &Path) -> Result<Config, Failure> {
    let fail = |error: std::io::Error| Failure::failed(format!("{}: {}", dir.display(), error.kind()));
    if dir.exists() {
        if !dir.join(MARK).exists() {
            return Err(Failure::usage(format!("{} is there and is not a demo's folder: name another with --dir", dir.display())));
        }
        std::fs::remove_dir_all(dir).map_err(fail)?;
    }
    development::init(dir, jiff::Timestamp::now()).map_err(|error| Failure::failed(error.to_string()))?;
    std::fs::write(dir.join(MARK), "Made by `landbridge demo`, and made anew by it.\n").map_err(fail)?;
    let file = dir.join("landbridge.toml");
    let mut text = std::fs::read_to_string(&file).map_err(fail)?;
    for port in [8443_u16, 2575, 9464] {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_err() {
            let free = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).map_err(fail)?.port();
            text = text
                .replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"))
                .replace(&format!("localhost:{port}"), &format!("localhost:{free}"));
        }
    }
    std::fs::write(&file, text).map_err(fail)?;
    Config::load(&file).map_err(|mistakes| Failure::failed(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

struct Show<'a> {
    dir: &'a Path,
    config: &'a Config,
    mllp: SocketAddr,
    https: SocketAddr,
    signer: Signer,
    steps: u32,
    failed: u32,
}

type Told<T = ()> = Result<T, String>;

impl<'a> Show<'a> {
    fn new(dir: &'a Path, config: &'a Config, running: &Running) -> Result<Self, Failure> {
        let address = |door: &str| running.addresses.get(door).copied().ok_or_else(|| Failure::failed(format!("no door {door}")));
        let signer = Signer::of(config).map_err(Failure::failed)?;
        Ok(Self { dir, config, mllp: address("mllp.main")?, https: address("https")?, signer, steps: 0, failed: 0 })
    }

    fn day(&mut self) -> Told {
        println!("A working folder is at {}: certificates, keys, and landbridge.toml with a comment for each setting.", self.dir.display());
        println!("The gateway runs on it. MLLP over mutual TLS: {}; HTTPS: {}.", self.mllp, self.https);
        println!("In another terminal: alias lb='{} --config {}/landbridge.toml'", program(), self.dir.display());
        self.messages()?;
        let patient = self.reads()?;
        self.refusals(&patient)?;
        self.audit()
    }

    /// Part 1: what the hospital's systems send.
    fn messages(&mut self) -> Told {
        self.part("The hospital's day: patient administration and laboratory speak HL7 v2, a document arrives as CDA");
        let mut pas = self.sender("pas")?;
        let mut lab = self.sender("lab")?;
        let aveline = |family: &str| {
            format!(
                "PID|1||D1001^^^RXX^MR~{NHS_NUMBER}^^^NHS^NH||{family}^Aveline^Rose^^Ms||19840617|F|||5 Millrace Row^^Harborough^^HB1 2CD^GBR||01632960011"
            )
        };
        let visit = |ward: &str, discharged: &str| {
            format!(
                "PV1|1|I|{ward}^02^B^RXX||||C1234567^Brackenbury^Isolde^^^Dr|||||||||||V100^^^RXX^VN{}202603010930|{discharged}",
                "|".repeat(25)
            )
        };
        let day: [(&str, &str, Vec<u8>); 6] = [
            ("A28", "a new person is registered", adt("A28", "DEMO1", "20260301090000", &[&aveline("Thistlewood")])),
            ("A01", "she is admitted to WARD1", adt("A01", "DEMO2", "20260301093000", &[&aveline("Thistlewood"), &visit("WARD1", "")])),
            ("A08", "her name is corrected", adt("A08", "DEMO3", "20260301100000", &[&aveline("Thistlewood-Grey"), &visit("WARD1", "")])),
            ("A02", "she is moved to WARD2", adt("A02", "DEMO4", "20260301140000", &[&aveline("Thistlewood-Grey"), &visit("WARD2", "")])),
            (
                "A03",
                "she is discharged",
                adt("A03", "DEMO5", "20260303110000", &[&aveline("Thistlewood-Grey"), &visit("WARD2", "202603031100")]),
            ),
            (
                "A28",
                "another number for the same person, by mistake",
                adt("A28", "DEMO6", "20260303120000", &["PID|1||D2002^^^RXX^MR||Thistlewood^Aveline||19840617|F"]),
            ),
        ];
        for (at, (event, what, message)) in day.iter().enumerate() {
            let control = format!("DEMO{}", at + 1);
            let reply = pas.send(message).map_err(|error| format!("{event}: no reply: {error}"))?;
            self.step(
                &format!("ADT^{event}: {what}"),
                &format!("acknowledged, and durable before that: {}", msa(&reply)),
                reply.contains(&format!("MSA|AA|{control}")),
                &format!("lb journal show {}", at + 1),
            );
        }
        let merge = adt("A40", "DEMO7", "20260303123000", &[&aveline("Thistlewood-Grey"), "MRG|D2002^^^RXX^MR"]);
        let reply = pas.send(&merge).map_err(|error| error.to_string())?;
        self.step(
            "ADT^A40: the two numbers are merged",
            &format!("the second record is kept, inactive, with a link: {}", msa(&reply)),
            reply.contains("MSA|AA|DEMO7"),
            "lb journal list",
        );
        for (control, stamp, status, value, what) in [
            ("LAB1", "20260301110000", "P", "6.30", "a preliminary result"),
            ("LAB2", "20260301120000", "F", "6.30", "the final result"),
            ("LAB3", "20260302090000", "C", "4.10", "the result is corrected"),
        ] {
            let message = oru(control, stamp, &aveline("Thistlewood-Grey"), status, value);
            let reply = lab.send(&message).map_err(|error| error.to_string())?;
            self.step(
                &format!("ORU^R01: {what}"),
                &msa(&reply),
                reply.contains(&format!("MSA|AA|{control}")),
                "lb journal list --feed lab",
            );
        }
        let document = App { certificate: Some("docs".into()), ..self.app(None) };
        let answer = document
            .request("POST", "/ingest/docs", &[("Content-Type", "application/xml")], DISCHARGE_SUMMARY.as_bytes())
            .map_err(|error| error.to_string())?;
        let folder = self.dir.display();
        self.step(
            "CDA over HTTPS: a discharge summary",
            &format!("{} and an OperationOutcome", answer.status),
            answer.status == 201,
            &format!("curl --cacert {folder}/tls/ca.pem --cert {folder}/clients/docs.pem --key {folder}/clients/docs.key -H 'Content-Type: application/xml' --data-binary @document.xml https://localhost:{}/ingest/docs", self.https.port()),
        );
        let reply = pas
            .send(b"MSH|^~\\&|PAS|RXX|LANDBRIDGE|RXX|20260303130000||ADT^A01^ADT_A01|DEMO8|P|2.5.1\rMSH|^~\\&|again\r")
            .map_err(|error| error.to_string())?;
        self.step(
            "a message that cannot be read",
            &format!("refused, and kept in the journal for an engineer: {}", msa(&reply)),
            reply.contains("MSA|AE") || reply.contains("MSA|AR"),
            "lb journal list --outcome malformed",
        );
        let again = pas.send(&day[1].2).map_err(|error| error.to_string())?;
        self.step(
            "the admission once more, byte for byte",
            &format!("the first reply again, and nothing changes: {}", msa(&again)),
            again.contains("MSA|AA|DEMO2"),
            "lb journal list --control-id DEMO2",
        );
        let late = adt("A08", "DEMO9", "20260301093500", &[&aveline("Thistlewood-Late"), &visit("WARD1", "")]);
        let reply = pas.send(&late).map_err(|error| error.to_string())?;
        self.step(
            "an update of 09:35 that comes after all the others",
            &format!("kept, and outranked by what was said later: {}", msa(&reply)),
            reply.contains("MSA|AA|DEMO9"),
            "lb journal list",
        );
        let stolen = lab
            .send(&adt("A28", "DEMO10", "20260303140000", &["PID|1||D3003^^^RXX^MR||Nobody^Nora"]))
            .map_err(|error| error.to_string())?;
        self.step(
            "an ADT message from the laboratory, which may not send it",
            &format!("refused: {}", msa(&stolen)),
            stolen.contains("MSA|AR"),
            "lb journal list --outcome forbidden",
        );
        Ok(())
    }

    /// Part 2: what a clinical app reads.
    fn reads(&mut self) -> Told<String> {
        self.part("A clinical app reads it back over HTTPS, with a SMART access token");
        let app = self.app(Some(self.token("system/*.rs", None)?));
        let found = self.get(&app, &format!("Patient?identifier=https://fhir.nhs.uk/Id/nhs-number|{NHS_NUMBER}"))?;
        let patient = &found.json()["entry"][0]["resource"];
        let id = patient["id"].as_str().unwrap_or_default().to_owned();
        let family = patient["name"][0]["family"].as_str().unwrap_or_default().to_owned();
        let found_one = found.json()["total"] == 1;
        self.step(
            "the patient, by NHS number",
            &format!("one, and her name is the corrected one, not the late one: {family}"),
            found_one && family == "Thistlewood-Grey",
            &self.curl("system/*.rs", &format!("Patient?identifier=https://fhir.nhs.uk/Id/nhs-number%7C{NHS_NUMBER}")),
        );
        let stays = self.get(&app, &format!("Encounter?patient={id}"))?.json();
        let stay = &stays["entry"][0]["resource"];
        let wards = stay["location"].as_array().map_or(0, Vec::len);
        self.step(
            "her stay",
            &format!("{}, in {wards} places, each with its time", stay["status"]),
            stay["status"] == "finished" && wards == 2,
            &self.curl("system/*.rs", &format!("Encounter?patient={id}")),
        );
        let results = self.get(&app, &format!("Observation?patient={id}&code=http://loinc.org|2823-3"))?.json();
        let result = &results["entry"][0]["resource"];
        self.step(
            "her potassium",
            &format!("{} {}", result["status"], result["valueQuantity"]["value"]),
            result["status"] == "corrected",
            &self.curl("system/*.rs", &format!("Observation?patient={id}&code=http://loinc.org%7C2823-3")),
        );
        let path = format!("Observation/{}/_history", result["id"].as_str().unwrap_or_default());
        let history = self.get(&app, &path)?;
        let text = String::from_utf8_lossy(&history.body).into_owned();
        let versions = history.json()["entry"].as_array().map_or(0, Vec::len);
        self.step(
            "the result's history",
            &format!("{versions} versions; the first value stands as it was written, 6.30"),
            versions == 3 && text.contains("6.30"),
            &self.curl("system/*.rs", &path),
        );
        let documents = self.get(&app, &format!("DocumentReference?patient={id}"))?.json();
        let link = &self.get(&app, &format!("Patient/{id}"))?.json()["link"];
        self.step(
            "the patient's links",
            "the merged record is named; the document waits under its own patient number",
            link[0]["type"] == "replaces" && documents["resourceType"] == "Bundle",
            &self.curl("system/*.rs", &format!("Patient/{id}")),
        );
        Ok(id)
    }

    /// Part 3: what is refused.
    fn refusals(&mut self, patient: &str) -> Told {
        self.part("What is refused");
        let answer = self.get(&self.app(None), &format!("Patient/{patient}"))?;
        self.step(
            "no token",
            &answer.status.to_string(),
            answer.status == 401,
            &format!("curl -i --cacert {}/tls/ca.pem https://localhost:{}/fhir/Patient/{patient}", self.dir.display(), self.https.port()),
        );
        let answer = self.get(&self.app(Some(self.token("system/Patient.rs", None)?)), &format!("Observation?patient={patient}"))?;
        self.step(
            "a token for patients alone asks for results",
            &answer.status.to_string(),
            answer.status == 403,
            &self.curl("system/Patient.rs", &format!("Observation?patient={patient}")),
        );
        let other = "00000000-0000-8000-8000-000000000001";
        let answer = self.get(&self.app(Some(self.token("patient/*.rs", Some(other))?)), &format!("Patient/{patient}"))?;
        self.step(
            "another patient's token",
            &format!("{}: the answer for a patient who never was", answer.status),
            answer.status == 404,
            &format!(
                "{} # with lb token --scope 'patient/*.rs' --patient {other}",
                self.curl("system/*.rs", &format!("Patient/{patient}"))
            ),
        );
        let answer = self.get(&self.app(Some(self.token("system/AuditEvent.rs", None)?)), "AuditEvent?_count=100")?;
        let events = answer.json()["total"].as_u64().unwrap_or(0);
        self.step(
            "the audit knows all of it",
            &format!("{events} events, each crossing with whom and what"),
            answer.status == 200 && events > 20,
            &self.curl("system/AuditEvent.rs", "AuditEvent"),
        );
        Ok(())
    }

    /// Part 4: that the audit shows it if someone changes it.
    fn audit(&mut self) -> Told {
        self.part("The audit cannot be changed unseen");
        let public = std::fs::read(self.config.seal_key.with_extension("pub")).map_err(|error| error.kind().to_string())?;
        let key = SealPublic::from_pem(&public).map_err(str::to_owned)?;
        let report = verify(&self.config.store_directory, None, &key).map_err(|error| error.to_string())?;
        self.step(
            "the audit is verified",
            &format!("intact: {} entries, {} not yet sealed", report.entries, report.unsealed),
            report.is_intact(),
            "lb audit verify",
        );
        let copy = self.dir.join("tampered");
        let place = |error: std::io::Error| format!("{}: {}", copy.display(), error.kind());
        std::fs::create_dir_all(&copy).map_err(place)?;
        for entry in std::fs::read_dir(&self.config.store_directory).map_err(place)?.flatten() {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), copy.join(entry.file_name())).map_err(place)?;
            }
        }
        // One byte: the outcome of a refusal, turned into a success.
        let changed = tamper(&copy)?;
        let report = verify(&copy, None, &key).map_err(|error| error.to_string())?;
        let place = report.faults.first().map(ToString::to_string).unwrap_or_default();
        self.step(
            "one byte of a copy is changed: a refusal becomes a success",
            &format!("found: {place}"),
            changed == 1 && !report.is_intact(),
            &format!("lb audit verify --directory {}", copy.display()),
        );
        Ok(())
    }

    fn part(&self, title: &str) {
        println!("\n== {title}");
    }

    fn step(&mut self, what: &str, look: &str, good: bool, repeat: &str) {
        self.steps += 1;
        self.failed += u32::from(!good);
        println!("\n{}. {what}\n   {} {look}\n   {repeat}", self.steps, if good { "ok:" } else { "NOT AS SAID:" });
    }

    fn sender(&self, name: &str) -> Told<Sender> {
        Sender::connect(self.mllp, self.dir, Some(name)).map_err(|error| format!("the MLLP door does not open for {name}: {error}"))
    }

    fn app(&self, token: Option<String>) -> App {
        App { address: self.https, folder: self.dir.to_owned(), token, certificate: None }
    }

    fn token(&self, scope: &str, patient: Option<&str>) -> Told<String> {
        let arguments = token::Arguments {
            scope: scope.to_owned(),
            patient: patient.map(str::to_owned),
            user: None,
            client: "demo-app".into(),
            expires: 3600,
        };
        self.signer.sign(&arguments, jiff::Timestamp::now())
    }

    fn get(&self, app: &App, path: &str) -> Told<Answer> {
        app.get(&format!("/fhir/{path}")).map_err(|error| format!("GET {}: {error}", path.split('?').next().unwrap_or_default()))
    }

    fn curl(&self, scope: &str, path: &str) -> String {
        format!(
            "curl --cacert {}/tls/ca.pem -H \"Authorization: Bearer $(lb token --scope '{scope}')\" 'https://localhost:{}/fhir/{path}'",
            self.dir.display(),
            self.https.port()
        )
    }
}

/// Changes one byte of one stored entry through SQLite itself: what a person with the file could do.
fn tamper(copy: &Path) -> Told<usize> {
    for name in ["access.db", "landbridge.db"] {
        let database = rusqlite::Connection::open(copy.join(name)).map_err(|_| format!("{name} cannot be opened"))?;
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(|_| format!("{name} cannot be written"))?;
        drop(database);
        let file = copy.join(name);
        let mut bytes = std::fs::read(&file).map_err(|error| error.kind().to_string())?;
        let wanted = b"\"outcome\":4";
        if let Some(at) = bytes.windows(wanted.len()).rposition(|window| window == wanted) {
            bytes[at + wanted.len() - 1] = b'0';
            std::fs::write(&file, bytes).map_err(|error| error.kind().to_string())?;
            return Ok(1);
        }
    }
    Ok(0)
}

fn program() -> String {
    std::env::current_exe().ok().map_or_else(|| "landbridge".into(), |path| path.display().to_string())
}

/// MSA as it came, without the rest.
fn msa(reply: &str) -> String {
    reply.split('\r').find(|segment| segment.starts_with("MSA")).unwrap_or("no MSA").to_owned()
}

fn adt(event: &str, control: &str, stamp: &str, segments: &[&str]) -> Vec<u8> {
    let structure = match event {
        "A28" => "A05",
        "A08" => "A01",
        "A40" => "A39",
        other => other,
    };
    let head = format!(
        "MSH|^~\\&|PAS|RXX|LANDBRIDGE|RXX|{stamp}||ADT^{event}^ADT_{structure}|{control}|P|2.5.1||||||UNICODE UTF-8\rEVN|{event}|{stamp}\r"
    );
    let rest: String = segments.iter().flat_map(|segment| [*segment, "\r"]).collect();
    (head + &rest).into_bytes()
}

fn oru(control: &str, stamp: &str, patient: &str, status: &str, value: &str) -> Vec<u8> {
    let segments = [
        format!("MSH|^~\\&|LAB|RXX|LANDBRIDGE|RXX|{stamp}||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8"),
        patient.to_owned(),
        "ORC|RE|ORD77^PAS|ORD77F^LAB".to_owned(),
        format!(
            "OBR|1|ORD77^PAS|ORD77F^LAB|U&E^Urea and electrolytes^L|||20260301080000|||||||||C7654321^Fennimore^Crispin^^^Dr||||||{stamp}|||{status}"
        ),
        format!("OBX|1|NM|2823-3^Potassium^LN||{value}|mmol/L|3.5-5.3|H|||{status}|||20260301080000"),
    ];
    (segments.join("\r") + "\r").into_bytes()
}

/// A made-up discharge summary.
const DISCHARGE_SUMMARY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <id root="1.2.826.0.1.9999.7" extension="DEMO-DOC-1"/>
  <code code="373942005" codeSystem="2.16.840.1.113883.6.96" displayName="Discharge summary"/>
  <title>Discharge summary</title>
  <effectiveTime value="20260303150000+0000"/>
  <confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
  <languageCode code="en-GB"/>
  <setId root="1.2.826.0.1.9999.8" extension="DEMO-SET-1"/>
  <versionNumber value="1"/>
  <recordTarget><patientRole>
    <id root="1.2.826.0.1.9999.1" extension="D1001"/>
    <id root="2.16.840.1.113883.2.1.4.1" extension="9990000018"/>
    <patient><name><given>Aveline</given><family>Thistlewood-Grey</family></name><administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19840617"/></patient>
  </patientRole></recordTarget>
  <author><time value="20260303145000+0000"/><assignedAuthor><id root="1.2.826.0.1.9999.9" extension="D-17"/><assignedPerson><name><given>Isolde</given><family>Brackenbury</family></name></assignedPerson></assignedAuthor></author>
  <custodian><assignedCustodian><representedCustodianOrganization><id root="2.16.840.1.113883.2.1.3.2.4.19.1" extension="RXX"/><name>Harborough Hospital</name></representedCustodianOrganization></assignedCustodian></custodian>
  <component><nonXMLBody><text mediaType="text/plain">Well at discharge. Potassium to be checked in a week.</text></nonXMLBody></component>
</ClinicalDocument>
"#;
