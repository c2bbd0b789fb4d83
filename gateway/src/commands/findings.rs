use super::journal::shown;
use super::ops::{Ops, Through, list, number, text};
use super::{Done, Options};
use crate::findings::{State, day, grouped};
use contract::Json;
use jiff::Timestamp;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// text, or json: state, and one object a finding (state, kind, about, what, meaning, do, who, since, count)
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// End with exit code 1 where the boundary is in this state or worse
    #[arg(long, value_name = "STATE", value_parser = ["needs-attention", "unsafe"])]
    fail_on: Option<String>,
    #[command(flatten)]
    through: Through,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let told = Ops::new(options, &arguments.through)?.get("/ops/findings")?;
    let concerns = list(&told, "findings");
    match arguments.format.as_str() {
        "json" => println!("{told}"),
        _ => {
            println!("{}", text(&told, "headline"));
            concerns.iter().for_each(|concern| print!("\n{}", paragraph(concern)));
        }
    }
    let state = text(&told, "state");
    let is_failing = match arguments.fail_on.as_deref() {
        None => false,
        Some("unsafe") => state == State::Unsafe.word(),
        Some(_) => state != State::Safe.word(),
    };
    Ok(ExitCode::from(u8::from(is_failing)))
}

/// A finding as one reads it.
fn paragraph(concern: &Json) -> String {
    let said = |name: &str| shown(text(concern, name));
    let since = text(concern, "since").parse::<Timestamp>().ok().map(day);
    let count = concern.get("count").map(|_| number(concern, "count"));
    let last = match (since, count) {
        (Some(since), Some(1)) => format!("On {since}."),
        (Some(since), Some(count)) => format!("Since {since}, {} times.", grouped(count)),
        (Some(since), None) => format!("Since {since}."),
        (None, Some(count)) => format!("{} times.", grouped(count)),
        (None, None) => String::new(),
    };
    let act = format!("Do: {} ({})", said("do"), said("who"));
    let lines =
        [(said("state").to_uppercase(), said("what")), (String::new(), said("meaning")), (String::new(), act), (String::new(), last)];
    lines.iter().filter(|(_, line)| !line.is_empty()).map(|(state, line)| format!("{state:15} {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Concern;
    use crate::ops::told;

    #[test]
    fn a_finding_is_told_in_lines() {
        let concern = |since: Option<&str>, count| Concern {
            state: State::Unsafe,
            kind: "plaintext-feed",
            about: "feed lab".into(),
            what: "Feed lab is not encrypted.".into(),
            meaning: "It may be read.".into(),
            act: "ask the supplier".into(),
            who: "integration engineer",
            since: since.map(|since| since.parse().unwrap()),
            count,
        };
        let check = |concern: Concern, last: &str| {
            let told = told::findings(&[concern]);
            let head = "UNSAFE          Feed lab is not encrypted.\n                It may be read.\n                Do: ask the supplier (integration engineer)\n";
            assert_eq!(paragraph(&list(&told, "findings")[0]), format!("{head}{last}"));
        };
        check(concern(Some("2026-03-03T01:00:00Z"), Some(41_204)), "                Since 3 March 2026, 41,204 times.\n");
        check(concern(Some("2026-03-03T01:00:00Z"), Some(1)), "                On 3 March 2026.\n");
        check(concern(None, None), "");
    }
}
