use super::*;
use contract::compliance;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The tables are read once for all tests.
fn dialect() -> &'static Hl7v2 {
    static DIALECT: OnceLock<Hl7v2> = OnceLock::new();
    DIALECT.get_or_init(|| {
        let shape = Arc::new(Shape::r4().unwrap());
        Hl7v2::new(&Tables::embedded("hl7v2"), shape).unwrap_or_else(|errors| panic!("{errors}"))
    })
}

fn settings() -> Settings {
    let mut settings = Settings::demonstration();
    settings.feed = "pas".into();
    settings.timezone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    settings.primary_assigner = Some("RXX".into());
    settings.assigners = BTreeMap::from([
        ("RXX".into(), "https://hospital.example/id/mrn".into()),
        ("NHS".into(), "https://fhir.nhs.uk/Id/nhs-number".into()),
    ]);
    settings.owns = ["Patient".into(), "Encounter".into()].into();
    settings
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hl7"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    assert!(found.len() >= 15, "a fixture an event");
    found
}

fn translate(bytes: &[u8]) -> Result<Translation, Rejection> {
    let adapter = dialect().adapter(settings());
    let frame = Frame::new(bytes.to_vec());
    let envelope = adapter.envelope(&frame)?;
    adapter.translate(&frame, &envelope)
}

/// What a message says, in lines: each resource with its key, each slot with its value.
fn shown(translation: &Translation) -> String {
    let mut out = String::new();
    for contribution in &translation.contributions {
        let key = &contribution.key;
        let class = match contribution.class {
            Class::Record => "",
            Class::Mention => " (mention)",
            Class::Message => " (message)",
        };
        let _ = writeln!(out, "{} {} {}{class}", key.kind, key.system, key.value);
        if let Some(membership) = &contribution.member_of {
            let _ = writeln!(out, "    in {} of {} {}", membership.group, membership.parent.kind, membership.parent.value);
        }
        for statement in &contribution.statements {
            let value = statement.value.as_ref().map_or_else(|| "cleared".to_owned(), ToString::to_string);
            let _ = writeln!(out, "    {:?} = {value}", statement.slot);
        }
    }
    for issue in &translation.issues {
        let _ = writeln!(out, "! {issue}");
    }
    out
}

/// `UPDATE_GOLDEN=1` writes what the fixtures now become; the diff is the review.
#[test]
fn fixtures_become_what_their_golden_files_say() {
    for (name, bytes) in fixtures() {
        let translation = translate(&bytes).unwrap_or_else(|rejection| panic!("{name}: {rejection:?}"));
        let shown = shown(&translation);
        let golden = folder().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &shown).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        for (line, (found, expected)) in shown.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{name}.txt:{}", line + 1);
        }
        assert_eq!(shown.lines().count(), expected.lines().count(), "{name}.txt");
    }
}

/// The widest fixture of each kind: a check is some hundred translations.
#[test]
fn the_adapter_keeps_its_contract() {
    let adapter = dialect().adapter(settings());
    let values = ["Pettigrew", "Ottoline", "4408123", "Larkspur", "Lantern", "SP55120"];
    for (_, bytes) in fixtures().into_iter().filter(|(name, _)| matches!(name.as_str(), "adt_a01" | "adt_a40" | "oru_r01")) {
        compliance::check(&*adapter, &bytes, &values);
    }
}

/// Growth of the rules is seen here: what a table can say is no rule.
#[test]
fn rules_are_few() {
    let tables = Tables::embedded("hl7v2");
    let (mut rows, mut ruled) = (0, 0);
    for (name, text) in tables.iter().filter(|(name, _)| !name.starts_with("codesystems/") && name.contains('/')) {
        let mut lines = text.lines().map(cells);
        let header = lines.next().unwrap_or_else(|| panic!("{name}: empty"));
        let rule = header.iter().position(|column| column == "rule").unwrap_or_else(|| panic!("{name}: no column rule"));
        for row in lines {
            rows += 1;
            ruled += usize::from(row.get(rule).is_some_and(|cell| !cell.is_empty()));
        }
    }
    println!("{ruled} of {rows} rows name a rule: {:.1} %", 100.0 * ruled as f64 / rows as f64);
    assert!(ruled * 20 < rows, "more than 5 % of the rows name a rule: {ruled} of {rows}");
}

/// Cells of a row, without line breaks in them.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for char in line.chars() {
        match char {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            char => cells.last_mut().unwrap().push(char),
        }
    }
    cells
}

/// Lines of what a message becomes hold each of `wanted`, and none of `unwanted`.
fn check(message: &str, wanted: &[&str], unwanted: &[&str]) {
    let text = message.replace('\n', "\r");
    let shown = shown(&translate(text.as_bytes()).unwrap_or_else(|rejection| panic!("{rejection:?}")));
    for wanted in wanted {
        assert!(shown.contains(wanted), "{wanted}\n is not in\n{shown}");
    }
    for unwanted in unwanted {
        assert!(!shown.contains(unwanted), "{unwanted}\n is in\n{shown}");
    }
}

fn adt(event: &str, rest: &str) -> String {
    format!("MSH|^~\\&|PAS|RXX|||202603021000||ADT^{event}|1|P|2.5\nEVN||202603021000\n{rest}\n")
}

fn result(obx: &str) -> String {
    format!("MSH|^~\\&|LAB|RXX|||202603021000||ORU^R01|1|P|2.5\nPID|||8^^^RXX\nOBR|1||F1^LAB|K^Potassium\n{obx}\n")
}

#[test]
fn the_patients_key_is_the_primary_assigners_number() {
    let pid = |numbers: &str| adt("A31", &format!("PID|||{numbers}||Test^Ann"));
    check(&pid("9434765919^^^NHS~7^^^LAB~8^^^RXX"), &["Patient https://hospital.example/id/mrn 8\n"], &[]);
    check(&pid("9434765919^^^NHS"), &["Patient https://fhir.nhs.uk/Id/nhs-number 9434765919\n"], &[]);
    // The NHS number is the key only where there is no local one.
    check(&pid("9434765919^^^NHS~7^^^LAB"), &["Patient urn:landbridge:pas:LAB 7\n"], &[]);
    // A placeholder identifies nobody.
    check(&pid("9999999999^^^NHS"), &["Patient urn:landbridge:pas:frame", "identifies nobody"], &["fhir.nhs.uk"]);
}

#[test]
fn two_nhs_numbers_of_one_person_wait() {
    let two = adt("A31", "PID|||9434765919^^^NHS~9990123454^^^NHS||Test^Ann").replace('\n', "\r");
    assert!(matches!(translate(two.as_bytes()), Err(Rejection::Held(_))));
    let placeholder = adt("A31", "PID|||9434765919^^^NHS~9999999999^^^NHS||Test^Ann").replace('\n', "\r");
    assert!(translate(placeholder.as_bytes()).is_ok());
}

#[test]
fn a_merge_into_itself_is_no_edge() {
    let merge = |number: &str| adt("A40", &format!("PID|||8^^^RXX||Test^Ann\nMRG|{number}^^^RXX"));
    check(&merge("7"), &["Edge(replaced-by) = {\"reference\":\"Patient/"], &["nothing is merged"]);
    check(&merge("8"), &["nothing is merged"], &["Edge("]);
    // Another of the survivor's own numbers, and one of the two alone.
    let own = merge("8").replace("PID|||8^^^RXX", "PID|||9^^^RXX^MR~8^^^RXX");
    check(&own, &["nothing is merged"], &["Edge("]);
    check(&merge("8").replace("MRG|8", "MRG|7^^^RXX~8"), &["Edge(replaced-by) = {"], &["nothing is merged"]);
}

#[test]
fn a_bare_prior_number_is_what_a_bare_number_was() {
    let merge = |survivor: &str, prior: &str| adt("A40", &format!("PID|||{survivor}||Test^Ann\nMRG|{prior}"));
    let edge = "Edge(replaced-by) = {";
    check(&merge("8", "7"), &["Patient urn:landbridge:pas:PID-3 8\n", "Patient urn:landbridge:pas:PID-3 7\n", edge], &["pas:MRG-1"]);
    check(&merge("8^^^RXX", "7"), &["Patient https://hospital.example/id/mrn 7\n", edge], &["pas:PID-3", "pas:MRG-1"]);
    check(&merge("9434765919^^^NHS", "7"), &["Patient urn:landbridge:pas:PID-3 7\n", edge], &[]);
    check(&merge("8", "7^^^RXX"), &["Patient https://hospital.example/id/mrn 7\n", edge], &[]);
}

#[test]
fn every_local_number_of_a_merge_is_retired() {
    let merge = |prior: &str| adt("A40", &format!("PID|||8^^^RXX~80^^^LAB~9434765919^^^NHS||Test^Ann\nMRG|{prior}"));
    let edges = |prior: &str, count: usize| {
        let shown = shown(&translate(merge(prior).replace('\n', "\r").as_bytes()).unwrap());
        assert_eq!(shown.matches("Edge(replaced-by)").count(), count, "{prior}\n{shown}");
    };
    edges("7^^^RXX~6^^^RXX", 2);
    edges("7^^^RXX~80^^^LAB~9434765919^^^NHS", 1);
    edges("7^^^RXX~70^^^LAB", 2);
    // Each with its own number, and with the national one.
    let two = merge("7^^^RXX~6^^^RXX~9434765919^^^NHS").replace("~80^^^LAB~9434765919^^^NHS", "");
    let shown = shown(&translate(two.replace('\n', "\r").as_bytes()).unwrap());
    let identifiers: Vec<&str> = shown.lines().filter(|line| line.contains("identifier MRG-1")).collect();
    assert!(identifiers.len() == 2, "{shown}");
    for (line, own) in identifiers.iter().zip(["7", "6"]) {
        let values: Vec<&str> = line.split("\"value\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(values, [own, "9434765919"], "{line}");
    }
    // The feed speaks for no number of another house.
    edges("7^^^RXX~70^^^X&1.2.3&ISO", 1);
    edges("7^^^RXX~8^^^RXX", 1);
    edges("9999999999^^^NHS", 0);
    check(&merge("9434765919^^^NHS"), &["warning: MRG[1]-1: only an NHS number"], &["Edge(", "Patient https://fhir.nhs.uk"]);
    // Where persons are known by nothing else, one NHS number may go into another.
    let national = adt("A40", "PID|||9434765919^^^NHS||Test^Ann\nMRG|9990123454^^^NHS");
    check(&national, &["Patient https://fhir.nhs.uk/Id/nhs-number 9990123454\n", "Edge(replaced-by) = {"], &[]);
}

#[test]
fn a_merge_of_nobody_is_told() {
    check(&adt("A40", "PID|||8^^^RXX||Test^Ann"), &["warning: MRG: nothing says which number"], &["Edge("]);
    check(&adt("A40", "PID|||8^^^RXX||Test^Ann\nMRG||7"), &["warning: MRG[1]-1: nothing says which number"], &["Edge("]);
}

#[test]
fn the_order_of_a_persons_numbers_does_not_matter() {
    let of = |numbers: &[&str], key: &str, doubt: bool| {
        let mut reversed = numbers.to_vec();
        reversed.reverse();
        for numbers in [numbers.to_vec(), reversed] {
            let message = adt("A31", &format!("PID|||{}||Test^Ann", numbers.join("~")));
            let doubted = "a second medical record number";
            let (wanted, unwanted): (&[&str], &[&str]) = if doubt { (&[doubted], &[]) } else { (&[], &[doubted]) };
            check(&message, &[&[&*format!("Patient https://hospital.example/id/mrn {key}\n")], wanted].concat(), unwanted);
        }
    };
    of(&["5^^^RXX^PI", "7^^^RXX^MR", "6^^^RXX"], "7", false);
    of(&["5^^^RXX^PI", "6^^^RXX"], "6", false);
    of(&["5^^^RXX^PI", "4^^^RXX^ZZ"], "5", false);
    of(&["9^^^RXX^MR", "7^^^RXX^MR", "6^^^RXX"], "7", true);
    of(&["7^^^RXX^MR", "7^^^RXX^MR"], "7", false);
    of(&["7^^^RXX^MR", "1^^^LAB^MR"], "7", false);
}

#[test]
fn an_authority_with_several_systems_still_gives_one_key() {
    let mut settings = settings();
    let system = |name: &str| format!("https://hospital.example/id/{name}");
    for (name, of) in [("RXX", "other"), ("RXX:VN", "visit"), ("RXX:PID-3", "mrn"), ("RXX:PV1-19", "stay")] {
        settings.assigners.insert(name.into(), system(of));
    }
    let adapter = dialect().adapter(settings);
    let check = |segments: &str, expected: &[(&str, &str, &str)]| {
        let frame = Frame::new(adt("A40", segments).into_bytes());
        let translation = adapter.translate(&frame, &adapter.envelope(&frame).unwrap()).unwrap();
        let keys = translation.contributions.iter().filter(|contribution| contribution.class == Class::Record);
        let keys: Vec<_> =
            keys.map(|contribution| &contribution.key).filter(|key| ["Patient", "Encounter"].contains(&&*key.kind)).collect();
        for (kind, of, value) in expected {
            assert!(keys.iter().any(|key| (&*key.kind, &*key.system, &*key.value) == (kind, &*system(of), value)), "{segments}: {keys:?}");
        }
        assert_eq!(keys.len(), expected.len(), "{segments}: {keys:?}");
    };
    for numbers in ["V9^^^RXX^VN~7^^^RXX^MR", "7^^^RXX^MR~V9^^^RXX^VN"] {
        check(&format!("PID|||{numbers}||Test^Ann\nMRG|6^^^RXX"), &[("Patient", "mrn", "7"), ("Patient", "mrn", "6")]);
    }
    let visit = |number: &str| format!("PID|||7^^^RXX||Test^Ann\nMRG|6^^^RXX\nPV1||I|W{}{number}^^^RXX", "|".repeat(16));
    check(&visit("V1"), &[("Patient", "mrn", "7"), ("Patient", "mrn", "6"), ("Encounter", "stay", "V1")]);
}

#[test]
fn results_without_a_patient_are_told() {
    let message = result("OBX|1|NM|K^Potassium||4.1|mmol/L|||||F");
    check(&message.replace("PID|||8^^^RXX\n", ""), &["warning: PID: PID is missing"], &[]);
    check(&message.replace("PID|||8^^^RXX", "PID|||||Test^Ann"), &["warning: PID[1]: no field identifies this Patient"], &[]);
    check(&message, &[], &["PID is missing", "no field identifies"]);
}

#[test]
fn links_are_set_and_taken_back() {
    let pair = |event: &str| adt(event, "PID|||8^^^RXX||Test^Ann\nPID|||9^^^RXX||Test^Anne");
    check(&pair("A24"), &["Edge(seealso) = {\"reference\":\"Patient/"], &["replaced-by"]);
    check(&pair("A37"), &["Edge(seealso) = cleared"], &["replaced-by"]);
}

#[test]
fn events_write_status_and_place_as_steps() {
    let visit = |event: &str| adt(event, "PID|||8^^^RXX\nPV1||I|ELM^2^4||||||||||||||||V1^^^RXX-V");
    for (event, status) in [
        ("A01", "in-progress"),
        ("A04", "in-progress"),
        ("A05", "planned"),
        ("A03", "finished"),
        ("A11", "cancelled"),
        ("A13", "in-progress"),
    ] {
        check(&visit(event), &[&format!("\"kind\":\"status\",\"step\":{},\"status\":\"{status}\"", event_step(event))], &[]);
    }
    for event in ["A02", "A08", "A31"] {
        check(&visit(event), &["\"kind\":\"location\""], &["\"kind\":\"status\""]);
    }
    check(&visit("A12"), &["\"kind\":\"cancel\"", "\"of\":\"A02\""], &["\"kind\":\"status\""]);
    check(&visit("A13"), &["Element(period.end) = cleared"], &[]);
    // A laboratory's PV1 is a mention: it moves no bed.
    check(
        &result("PV1||I|ELM^2^4||||||||||||||||V1^^^RXX-V").replace("OBR|1||F1^LAB|K^Potassium\n", ""),
        &["Encounter urn:landbridge:pas:RXX-V V1 (mention)"],
        &[],
    );
}

#[test]
fn numbers_keep_their_digits_and_words_stay_words() {
    let value = |kind: &str, value: &str, unit: &str| result(&format!("OBX|1|{kind}|K^Potassium||{value}|{unit}|||||F"));
    let quantity = "\"valueQuantity\":{\"value\":6.30,\"unit\":\"mmol/L\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mmol/L\"}";
    check(&value("NM", "6.30", "mmol/L"), &[quantity], &[]);
    check(&value("NM", "<5", "mmol/L"), &["\"valueString\":\"<5\""], &["valueQuantity"]);
    check(&value("SN", "<^5", ""), &["\"valueQuantity\":{\"value\":5,\"comparator\":\"<\"}"], &[]);
    check(&value("CE", "A^a^L~B^b^L", ""), &["\"component\":[{\"code\""], &["\"valueString\""]);
    check(&value("TX", "one~two", ""), &["\"valueString\":\"one\\ntwo\""], &[]);
}

#[test]
fn a_result_sent_again_without_its_value_clears_none() {
    let message = result("OBX|1|NM|K^Potassium|||mmol/L|||||U");
    check(&message, &["Element(status) = {\"status\":\"final\"}"], &["Element(OBX)", "valueQuantity", "hl7v2-OBX-6"]);
}

#[test]
fn a_field_deleted_is_cleared_and_an_absent_one_says_nothing() {
    check(&adt("A31", "PID|||8^^^RXX||Test^Ann||\"\"|F"), &["Element(birthDate) = cleared"], &["maritalStatus"]);
    check(&adt("A31", "PID|||8^^^RXX||Test^Ann\nAL1||\"\"|\"\""), &["Group(AL1 pas) = []"], &["AllergyIntolerance"]);
    check(&adt("A31", "PID|||8^^^RXX||Test^Ann"), &[], &["Group("]);
}

#[test]
fn a_diagnosis_with_an_action_is_an_item_of_its_own() {
    let diagnosis = |action: &str| {
        adt("A01", &format!("PID|||8^^^RXX\nPV1||I|||||||||||||||||V1\nDG1|1||S72^Fracture^I10||20260302|A{}{action}", "|".repeat(15)))
    };
    check(&diagnosis(""), &["Group(DG1 pas) = ["], &["Item(", "entered-in-error"]);
    check(&diagnosis("A"), &["Item(DG1 pas) = {}"], &["Group(DG1", "entered-in-error"]);
    check(&diagnosis("D"), &["Item(DG1 pas) = cleared", "entered-in-error"], &["Group(DG1"]);
}

#[test]
fn what_is_no_message_of_ours_is_refused() {
    for (message, kind) in [
        ("MSH|^~\\&|A|B|||2026||ADT^A99|1|P|2.5\rPID|||8\r", "Unsupported"),
        ("MSH|^~\\&|A|B|||2026||SIU^S12|1|P|2.5\rPID|||8\r", "Unsupported"),
        ("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\r", "Untranslatable"),
        ("PID|||8\r", "Malformed"),
    ] {
        let rejection = translate(message.as_bytes()).unwrap_err();
        assert!(format!("{rejection:?}").starts_with(kind), "{rejection:?}");
    }
}

#[test]
fn panels_of_one_accession_number_are_reports_of_their_own() {
    let order = |filler: &str, placer: &str, service: &str| {
        format!(
            "MSH|^~\\&|LAB|RXX|||202603021000||ORU^R01|1|P|2.5\nPID|||8^^^RXX\nOBR|1|{placer}|{filler}|{service}|||202603020900\n\
             OBX|1|NM|K^Potassium||4.1|mmol/L|||||F\n"
        )
    };
    let of = |filler: &str, placer: &str, service: &str, report: &str| {
        check(&order(filler, placer, service), &[&format!("DiagnosticReport urn:landbridge:pas:{report}\n")], &["frame"]);
    };
    of("F1^LAB", "", "UE^Urea and electrolytes^WIN", "LAB F1|WIN|UE");
    of("F1^LAB", "P1^WARD", "FBC^Full blood count", "LAB F1|FBC");
    of("F1^LAB", "", "^^^FBC^Full blood count^WIN", "LAB F1|WIN|FBC");
    of("F1^LAB", "", "", "LAB F1");
    of("", "P1^WARD", "FBC^Full blood count", "WARD P1|FBC");
    of("", "P1^WARD", "A%7CB", "WARD P1|A%257CB");
    // The results stand below their own panel, and the identifiers stay as they were sent.
    check(
        &order("F1^LAB", "P1^WARD", "FBC^Full blood count"),
        &[
            "Observation urn:landbridge:pas:LAB F1%7CFBC|",
            "ServiceRequest urn:landbridge:pas:WARD P1|FBC\n",
            "\"value\":\"F1\",\"system\":\"urn:landbridge:pas:LAB\"",
        ],
        &["\"value\":\"F1|"],
    );
}

#[test]
fn a_unit_is_read_as_it_was_meant() {
    let value = |kind: &str, value: &str, unit: &str| result(&format!("OBX|1|{kind}|W^Leucocytes||{value}|{unit}|4.0-11.0||||F"));
    let cells = |unit: &str| format!("\"unit\":\"{unit}\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"10*9/L\"}}");
    // The power that was not escaped is read as the escaped one.
    for (written, unit) in [("10^9/L", "10^9/L"), ("x10^9/l", "x10^9/l"), ("10*^9/L", "10*^9/L"), ("10^9/L^^UCUM", "10^9/L")] {
        let warning = "warning: OBX[1]-6: a component separator that was not escaped";
        let unit = cells(unit).replace("10*9/L", if written.contains("UCUM") { "10^9/L" } else { "10*9/L" });
        check(&value("NM", "6.1", written), &[&format!("\"valueQuantity\":{{\"value\":6.1,{unit}"), warning], &[]);
    }
    check(&value("NM", "6.1", "10\\S\\9/L"), &[&cells("10^9/L")], &["not escaped"]);
    check(&value("NM", "6.1", "10^12/L"), &["\"unit\":\"10^12/L\"", "\"code\":\"10*12/L\""], &[]);
    check(&value("ST", "raised", "10^9/L"), &["\"valueCodeableConcept\":{\"text\":\"10^9/L\"}", "warning: OBX[1]-6"], &[]);
    check(&value("NM", "6.1", "10^tens"), &["\"unit\":\"tens\"", "OBX[1]-6.1: the unit's code is of no coding system"], &["not escaped"]);
    // The alternate unit stands in for one that is absent, and where it alone is UCUM.
    let ucum = "\"unit\":\"mmol/L\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mmol/L\"";
    check(&value("NM", "6.1", "^^^mmol/L^mmol/L^UCUM"), &[&format!("{{\"value\":6.1,{ucum}}}")], &["PQ-translation"]);
    check(
        &value("NM", "6.1", "MM^mmol/L^WIN^mmol/L^^UCUM"),
        &[&format!("{{\"value\":6.1,{ucum},\"extension\""), "\"system\":\"urn:landbridge:pas:WIN\",\"code\":\"MM\""],
        &[],
    );
    check(&value("NM", "6.1", "mmol/L^^^MM^mM^WIN"), &[&format!("{{\"value\":6.1,{ucum},\"extension\"")], &[]);
    // Whatever has a unit has its code.
    check(
        &value("SN", "^3^-^5", "mmol/L"),
        &[&format!("\"valueRange\":{{\"low\":{{\"value\":3,{ucum}}},\"high\":{{\"value\":5,{ucum}}}}}")],
        &[],
    );
    check(&value("SN", "^1^:^2", "mmol/L"), &[&format!("\"numerator\":{{\"value\":1,{ucum}}}")], &[]);
    check(&value("NM", "6.1", "mmol/L"), &[&format!("\"referenceRange\":[{{\"low\":{{\"value\":4.0,{ucum}}}")], &[]);
}

#[test]
fn lines_of_one_text_are_one_result() {
    let line = |kind: &str, question: &str, sub_id: &str, text: &str| format!("OBX||{kind}|{question}|{sub_id}|{text}||||||F\n");
    let report = |lines: &[String]| result(lines.concat().trim_end());
    let count = |message: &str| shown(&translate(message.replace('\n', "\r").as_bytes()).unwrap()).matches("\nObservation ").count();
    let text = report(&[
        line("TX", "R^Report", "", "First line"),
        line("FT", "R^Report", "", ""),
        "NTE|1||a note\n".into(),
        line("ST", "R^Report", "", "Last ^ line"),
        "NTE|1||another\n".into(),
    ]);
    check(
        &text,
        &["\"valueString\":\"First line\\n\\nLast ^ line\"", "\"note\":[{\"text\":\"a note\"},{\"text\":\"another\"}]"],
        &["OBX[2]", "OBX[3]", "NTE["],
    );
    assert_eq!(count(&text), 1);
    // What a line says otherwise than the first one is told.
    let other = text.replacen("Last ^ line||||||F", "Last ^ line||||||P", 1);
    check(&other, &["\"status\":\"final\"", "information: OBX[3]-11: no row of the tables reads this value"], &[]);
    // The first line may be the empty one.
    check(&report(&[line("TX", "R^Report", "1", ""), line("TX", "R^Report", "1", "text")]), &["\"valueString\":\"\\ntext\""], &[]);
    for (one, other) in [
        (line("TX", "R^Report", "1", "a"), line("TX", "R^Report", "2", "b")),
        (line("TX", "R^Report", "", "a"), line("TX", "S^Summary", "", "b")),
        (line("NM", "R^Report", "", "1"), line("NM", "R^Report", "", "2")),
        (line("TX", "R^Report", "", "a"), line("CE", "R^Report", "", "b")),
    ] {
        assert_eq!(count(&report(&[one, other])), 2);
    }
    let orders = format!("{}OBR|2||F2^LAB|K^Potassium\n{}", report(&[line("TX", "R", "", "a")]), line("TX", "R", "", "b"));
    assert_eq!(count(&orders), 2);
}

#[test]
fn what_is_wrong_is_said_once_and_plainly() {
    let lines = "OBX|1|NM|K^Potassium||4.1|mmol/L|||||F\nOBX|2|NM|L^Sodium||141|mmol/L|||||F";
    let late = result(lines).replace("F1^LAB|K^Potassium", &format!("F1^LAB|K^Potassium{}202703030000", "|".repeat(18)));
    let shown = shown(&translate(late.replace('\n', "\r").as_bytes()).unwrap());
    assert_eq!(shown.matches("more than 5 minutes after").count(), 1, "{shown}");
    let twice = result("OBX|1|NM|K^Potassium||4.1|mmol/L|||||F\nOBX|2|NM|K^Potassium||4.2|mmol/L|||||F");
    check(&twice, &["warning: OBX[2]: the same key as OBX[1]: the two are told apart by their order alone"], &[]);
    check(
        &adt("A01", "PID|||||Test^Ann\nPV1||I"),
        &[
            "warning: PID[1]: no field identifies this Patient (PID-3, PID-2): it is a new one with every message",
            "warning: PV1[1]: no field identifies this Encounter (PV1-19, PV1-44): it is a new one with every message",
        ],
        &[],
    );
    check(
        &result("OBX|1|NM|K^Potassium||\"\"|mmol/L|||||F"),
        &["information: OBX[1]-5: the value is deleted: nothing is carried"],
        &["OBX[1]-5: no row"],
    );
}

#[test]
fn a_prior_place_is_a_stay_of_transfers_alone() {
    let visit = |event: &str| adt(event, "PID|||8^^^RXX\nPV1||I|ELM^2^4|||ASH^1^1|||||||||||||V1^^^RXX-V");
    for event in ["A02", "A06", "A07"] {
        check(&visit(event), &["\"kind\":\"location\",\"step\":3,\"prior\":true,"], &["hl7v2-PV1-6"]);
        // Before the place now, at the same time: none is made up.
        let shown = shown(&translate(visit(event).replace('\n', "\r").as_bytes()).unwrap());
        let moves: Vec<&str> = shown.lines().filter(|line| line.contains("\"kind\":\"location\"")).collect();
        assert!(moves.len() == 2 && moves[0].contains("\"prior\"") && !moves[1].contains("\"prior\""), "{shown}");
        assert!(moves.iter().all(|line| line.contains("Move(1772445600000000 ")), "{shown}");
    }
    for event in ["A01", "A08", "A31", "A11", "A12", "A13", "A03"] {
        check(&visit(event), &["hl7v2-PV1-6\",\"valueReference\":{\"reference\":\"Location/"], &["\"prior\"", "\"status\":\"completed\""]);
    }
}

#[test]
fn a_step_lasts_from_when_it_came_about() {
    let visit = |event: &str, occurred: &str, admitted: &str, discharged: &str| {
        adt(event, &format!("PID|||8^^^RXX\nPV1||I|ELM^2^4||||||||||||||||V1^^^RXX-V{}{admitted}|{discharged}", "|".repeat(25)))
            .replace("EVN||202603021000", &format!("EVN||202603021000||||{occurred}"))
    };
    let time = |hour: u8| format!("\"time\":\"2026-03-02T{hour:02}:00:00+00:00\"");
    let (at8, at7) = ("202603020800", "202603020700");
    for (event, expected) in [("A01", 7), ("A04", 7), ("A03", 7), ("A02", 8), ("A08", 8), ("A05", 8)] {
        let message = if event == "A03" { visit(event, at8, "", at7) } else { visit(event, at8, at7, "") };
        check(
            &message,
            &[&format!("\"kind\":\"location\",\"step\":{},{}", event_step(event), time(expected)), "Move(1772445600000000 "],
            &[],
        );
    }
    for event in ["A11", "A12", "A13"] {
        check(&visit(event, at8, at7, at7), &["\"kind\":\"location\""], &["\"time\""]);
    }
    check(&visit("A01", "", "", ""), &["\"kind\":\"status\""], &["\"time\""]);
    // A day alone stays one.
    check(&visit("A01", "", "20260302", ""), &["\"time\":\"2026-03-02\""], &[]);
    // Without PV1-44 the event itself began the stay: when it came about, else when it was recorded.
    let start = |hour: u8| format!("Element(period.start) = {{\"period\":{{\"start\":\"2026-03-02T{hour:02}:00:00+00:00\"}}}}");
    for event in ["A01", "A04"] {
        check(&visit(event, at8, at7, ""), &[&start(7)], &[]);
        check(&visit(event, at8, "", ""), &[&start(8)], &[]);
        check(&visit(event, "", "", ""), &[&start(10)], &[]);
    }
    check(&visit("A08", at8, "", ""), &[], &["period.start"]);
}

#[test]
fn social_security_numbers_are_nine_digits() {
    let pid = |number: &str| adt("A31", &format!("PID|||8^^^RXX||Test^Ann{}{number}", "|".repeat(14)));
    let identifier = |system: &str, value: &str, kind: &str| {
        let system = if system.is_empty() { String::new() } else { format!(",\"system\":\"{system}\"") };
        format!("identifier PID-19 pas) = [{{\"value\":\"{value}\"{system},\"type\":{{\"coding\":[{{\"code\":\"{kind}\"")
    };
    check(&pid("987-65-4320"), &[&identifier("http://hl7.org/fhir/sid/us-ssn", "987-65-4320", "SS")], &[]);
    check(&pid("943 476 5919"), &[&identifier("https://fhir.nhs.uk/Id/nhs-number", "9434765919", "NH")], &["us-ssn"]);
    check(&pid("9434765918"), &[&identifier("", "9434765918", "SS")], &["us-ssn", "fhir.nhs.uk"]);
    let other = pid("9434765919").replace("8^^^RXX", "8^^^RXX~9990123454^^^NHS").replace('\n', "\r");
    assert!(matches!(translate(other.as_bytes()), Err(Rejection::Held(_))));
}

#[test]
fn what_is_carried_is_no_issue() {
    let born = |text: &str| adt("A31", &format!("PID|||8^^^RXX||Test^Ann||{text}"));
    check(&born("198002281200"), &["\"birthDate\":\"1980-02-28\"", "\"valueDateTime\":\"1980-02-28T12:00:00+00:00\""], &["PID[1]-7"]);
    check(&born("soon"), &["warning: PID[1]-7"], &["birthDate"]);
    check(&born("\"\""), &["Element(birthDate) = cleared"], &["PID[1]-7"]);
    check(&adt("A01", "PID|||8^^^RXX\nPV1||I|||||||||||||||||V1^^^RXX-V^VN"), &["visit number"], &["PV1[1]-19"]);
}
