//! What is sent in the benchmarks.

#[path = "../flows/messages.rs"]
#[allow(dead_code)]
mod messages;

use messages::{Person, adt, visit};

/// A message by its number: the feed's client, and the bytes.
pub type Mix = fn(usize) -> (&'static str, Vec<u8>);

/// Admissions, transfers, updates and discharges of inpatients: four messages a patient.
pub fn adt_mix(n: usize) -> (&'static str, Vec<u8>) {
    let (person, event) = (Person::number(n / 4), ["A01", "A02", "A08", "A03"][n % 4]);
    let stamp = stamp(n);
    let discharged = if event == "A03" { stamp.as_str() } else { "" };
    let ward = if event == "A01" { "WARD1" } else { "WARD2" };
    let visit = visit("I", ward, &format!("V{}", n / 4), "202603010000", discharged);
    ("pas", adt(event, &format!("C{n}"), &stamp, &person, &[&visit]))
}

/// A laboratory report with 20 results.
pub fn oru_twenty(n: usize) -> (&'static str, Vec<u8>) {
    let message = messages::oru(&format!("C{n}"), &stamp(n), &Person::number(n / 4), &format!("O{n}"), "F", "4.10");
    let mut text = String::from_utf8(message).expect("UTF-8");
    for result in 2..=20 {
        text.push_str(&format!(
            "OBX|{result}|NM|T{result:03}^Test {result}^L||{}.{}|mmol/L|1.0-9.0|N|||F|||20260301080000\r",
            result % 9,
            n % 10
        ));
    }
    ("lab", text.into_bytes())
}

/// Message `n`'s time: a second after the one before.
fn stamp(n: usize) -> String {
    format!("202603{:02}{:02}{:02}{:02}", 1 + n / 86_400, n / 3_600 % 24, n / 60 % 60, n % 60)
}
