//! Messages of a made-up hospital. Every name, number and date here is invented; NHS numbers are of the test range 999.

/// What the log must never hold: values of the messages below.
pub const SECRETS: &[&str] = &[
    "Quillfeather",
    "Ottoline",
    "9990000034",
    "9990000042",
    "Larkspur",
    "ZZ9 9ZZ",
    "02079460999",
    "19510704",
    "1951-07-04",
    "MRN70001",
    "Hartwhistle",
];

/// A patient of the made-up hospital.
#[derive(Clone)]
pub struct Person {
    pub mrn: String,
    pub nhs: &'static str,
    pub family: String,
    pub given: &'static str,
    pub line: String,
}

impl Person {
    pub fn ottoline() -> Self {
        Self { mrn: "MRN70001".into(), nhs: "9990000034", family: "Quillfeather".into(), given: "Ottoline", line: "4 Larkspur Lane".into() }
    }

    /// Another person under a number of one's own.
    pub fn number(n: usize) -> Self {
        Self { mrn: format!("MRN8{n:04}"), nhs: "", family: format!("Hartwhistle{n}"), given: "Basil", line: "1 Larkspur Lane".into() }
    }

    fn pid(&self) -> String {
        let nhs = if self.nhs.is_empty() { String::new() } else { format!("~{}^^^NHS^NH", self.nhs) };
        format!(
            "PID|1||{}^^^RXX^MR{nhs}||{}^{}^^^Mrs||19510704|F|||{}^^Harborough^^ZZ9 9ZZ^GBR||02079460999",
            self.mrn, self.family, self.given, self.line
        )
    }
}

/// An ADT message: `stamp` is MSH-7 and EVN-2 (`20260301093000`), `rest` further segments, each on a line of its own.
pub fn adt(event: &str, control: &str, stamp: &str, person: &Person, rest: &[&str]) -> Vec<u8> {
    let structure = match event {
        "A04" | "A08" | "A13" => "A01",
        "A28" | "A31" => "A05",
        "A12" => "A09",
        other => other,
    };
    let mut segments = vec![
        format!("MSH|^~\\&|PAS|RXX|LANDBRIDGE|RXX|{stamp}||ADT^{event}^ADT_{structure}|{control}|P|2.5.1||||||UNICODE UTF-8"),
        format!("EVN|{event}|{stamp}"),
        person.pid(),
    ];
    segments.extend(rest.iter().map(|segment| (*segment).to_owned()));
    finish(segments).into_bytes()
}

/// A visit: PV1 with class, ward, visit number and admission time.
pub fn visit(class: &str, ward: &str, number: &str, admitted: &str, discharged: &str) -> String {
    let mut fields = vec![String::new(); 46];
    fields[0] = "PV1".into();
    fields[1] = "1".into();
    fields[2] = class.into();
    fields[3] = format!("{ward}^01^A^RXX");
    fields[7] = "C1234567^Brackenbury^Isolde^^^Dr".into();
    fields[19] = format!("{number}^^^RXX^VN");
    fields[44] = admitted.into();
    fields[45] = discharged.into();
    fields.join("|").trim_end_matches('|').to_owned()
}

/// A laboratory report with one potassium result: `status` is OBX-11 (and OBR-25), `value` as written.
pub fn oru(control: &str, stamp: &str, person: &Person, order: &str, status: &str, value: &str) -> Vec<u8> {
    finish(vec![
        format!("MSH|^~\\&|LAB|RXX|LANDBRIDGE|RXX|{stamp}||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8"),
        person.pid(),
        format!("ORC|RE|{order}^PAS|{order}F^LAB"),
        format!("OBR|1|{order}^PAS|{order}F^LAB|U&E^Urea and electrolytes^L|||20260301080000|||||||||C7654321^Fennimore^Crispin^^^Dr||||||{stamp}|||{status}"),
        format!("OBX|1|NM|2823-3^Potassium^LN||{value}|mmol/L|3.5-5.3|H|||{status}|||20260301080000"),
    ])
    .into_bytes()
}

fn finish(segments: Vec<String>) -> String {
    segments.join("\r") + "\r"
}
