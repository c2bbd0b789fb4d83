//! The engine over a dialect of its own. Tables are written short: a line per row, `column=cell` with ` ~ ` between.

mod dialect;
mod groups;
mod values;

use crate::{Engine, Message, Shape, Weight};
use contract::{
    Authority, Class, Contribution, Envelope, Explanation, Frame, IssueCode, Party, Processing, Rejection, Settings, Slot, TypeCode,
};
use dialect::{Literal, Tree};
use schemas::Tables;
use std::sync::{Arc, LazyLock};

static SHAPE: LazyLock<Arc<Shape>> = LazyLock::new(|| Arc::new(Shape::r4().unwrap_or_else(|reason| panic!("{reason}"))));

const HEADER: &str = "each,from,join,to,as,as_by,codes,assign,when,resource,key,group,class,ref,slot,asserted,rule,note";

/// 2026-01-02 12:00 UTC.
const SENT: i64 = 1_767_355_200_000_000;

fn csv(rows: &str) -> String {
    let mut out = format!("{HEADER}\n");
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let cell = |column: &str| {
            let found = row.split(" ~ ").find_map(|cell| cell.trim().strip_prefix(column)?.strip_prefix('='));
            format!("\"{}\"", found.unwrap_or("").replace('"', "\"\""))
        };
        out.push_str(&HEADER.split(',').map(cell).collect::<Vec<_>>().join(","));
        out.push('\n');
    }
    out
}

/// Tables by name; code maps are written as they stand.
fn tables(tables: &[(&str, &str)]) -> Tables {
    let text = |name: &str, rows: &str| match name.starts_with("codesystems/") {
        true => format!("code,system,target,display,note\n{}", rows.lines().map(|row| format!("{}\n", row.trim())).collect::<String>()),
        false => csv(rows),
    };
    tables.iter().map(|(name, rows)| ((*name).to_owned(), text(name, rows))).collect()
}

fn engine(rows: &[(&str, &str)]) -> Engine<Literal> {
    Engine::compile(&tables(rows), SHAPE.clone(), Literal).unwrap_or_else(|errors| panic!("{errors}"))
}

fn settings() -> Settings {
    let assigners = ["u", "c"].map(|name| (name.to_owned(), format!("urn:{name}")));
    Settings { feed: "f".into(), owns: ["Encounter".to_owned()].into(), assigners: assigners.into(), ..Settings::demonstration() }
}

fn with_message<T>(
    engine: &Engine<Literal>,
    text: &str,
    settings: &Settings,
    done: impl for<'m> FnOnce(&'m Engine<Literal>, &'m Message<'m, Literal>) -> T,
) -> T {
    let tree = Tree::parse(text);
    let envelope = Envelope {
        message_type: TypeCode::default(),
        control_id: String::new(),
        sender: Party::default(),
        receiver: Party::default(),
        processing: Processing::Production,
        sent: Some(SENT),
        version: String::new(),
        head: Default::default(),
        issues: Vec::new(),
    };
    let frame = Frame::new(text.as_bytes().to_vec());
    let weight = Weight { settled: 0, step: 3 };
    done(engine, &Message { table: "M", root: tree.root(), frame: &frame, envelope: &envelope, settings, sequence: 7, weight })
}

fn explain_with(engine: &Engine<Literal>, text: &str, settings: &Settings, traced: bool) -> Explanation {
    with_message(engine, text, settings, |engine, message| match traced {
        true => engine.explain(message).expect("within the limit"),
        false => {
            let translation = engine.translate(message).expect("within the limit");
            Explanation { translation, traces: Vec::new(), unmapped: Vec::new() }
        }
    })
}

/// What is said, a line each, without what R4's own needs put in.
fn said(engine: &Engine<Literal>, message: &str) -> Vec<String> {
    let explanation = explain_with(engine, message, &settings(), false);
    let mut lines: Vec<String> = explanation.translation.contributions.iter().flat_map(contribution).collect();
    lines.extend(
        explanation.translation.issues.iter().map(|issue| format!("{} {} {}", issue.severity.code(), issue.code.word(), issue.place)),
    );
    lines
}

fn contribution(contribution: &Contribution) -> Vec<String> {
    let key = &contribution.key;
    let class = match contribution.class {
        Class::Record => "",
        Class::Mention => " mention",
        Class::Message => " message",
    };
    let member = contribution.member_of.as_ref().map_or_else(String::new, |member| format!(" in {} {}", member.group, member.item));
    let mut lines = vec![format!("{} {} {}{class}{member}", key.kind, key.system, key.value)];
    for statement in contribution.statements.iter().filter(|statement| &*statement.row != "r4/shape") {
        let slot = match &statement.slot {
            Slot::Element(name) => name.to_string(),
            Slot::Repeats { element, field, feed } => format!("{element}<{field}@{feed}"),
            Slot::Member { element, key } => format!("{element}+{}", key.split('/').next().unwrap_or("")),
            Slot::Group { group, .. } => format!("group {group}"),
            Slot::Item { group, key, .. } => format!("item {group} {key}"),
            other => format!("{other:?}"),
        };
        let authority = match statement.rank.authority {
            Authority::Implied => "implied ",
            Authority::Mention | Authority::Feed => "",
            Authority::Owner => "owner ",
        };
        let value = statement.value.as_ref().map_or("cleared".into(), |value| value.to_string());
        lines.push(format!("  {authority}{slot} {}", blurred(&value)));
    }
    lines
}

/// Ids depend on the key of ids alone: a test names what it points at.
fn blurred(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("\"reference\":\"") {
        let (reference, after) = after.split_once('"').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&format!("\"reference\":\"{}\"", reference.split('/').next().unwrap_or("")));
        rest = after;
    }
    out + rest
}

fn check(engine: &Engine<Literal>, message: &str, expected: &[&str]) {
    let found = said(engine, message);
    assert_eq!(found, expected, "{message}\n{}\n", found.join("\n"));
}

const PATIENT: (&str, &str) = ("messages/M", "from=pid ~ as=pid[Patient] ~ resource=Patient ~ key==ID:pid/id ~ asserted=recorded sent");

#[test]
fn mistakes_are_told_all_at_once_with_file_and_line() {
    let check = |rows: &[(&str, &str)], expected: &[&str]| {
        let errors = Engine::compile(&tables(rows), SHAPE.clone(), Literal).err().map_or_else(String::new, |errors| errors.to_string());
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{errors}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}\nshould be\n{expected}");
        }
    };
    check(
        &[
            (
                "segments/pid[Patient]",
                "from=a ~ to=nme\nfrom=B ~ to=gender\nfrom=a ~ to=birthDate ~ as=x\nfrom=a ~ to=gender ~ assign=loud\n\
                 from=a ~ to=gender[1]\nfrom=a ~ to=name\nfrom=a ~ to=deceased\nfrom=a ~ to=active ~ as=date\nfrom=a ~ to=gender ~ codes=none",
            ),
            ("segments/pid[Nothing]", ""),
        ],
        &[
            "segments/pid[Nothing].csv:1: a table is named",
            "segments/pid[Patient].csv:2: to: Patient has no element nme",
            "segments/pid[Patient].csv:3: B: a selector",
            "segments/pid[Patient].csv:4: as: no table x",
            "segments/pid[Patient].csv:5: assign: R4 does not allow this code here",
            "segments/pid[Patient].csv:6: to: gender does not repeat",
            "segments/pid[Patient].csv:7: as: say how a HumanName is built",
            "segments/pid[Patient].csv:8: to: Patient has no element deceased; write deceased[x] with `as`, or one of deceasedBoolean, deceasedDateTime",
            "segments/pid[Patient].csv:9: as: date does not make a boolean",
            "segments/pid[Patient].csv:10: codes: no code map none",
        ],
    );
    check(
        &[
            (
                "messages/M",
                "from=a ~ as=pid[Patient] ~ resource=Encounter ~ key=a\nresource=Patient ~ key=@Nobody\nresource=Patient ~ key=rule:none\n\
                 resource=Patient ~ key=a ~ group=AL\nresource=Patient ~ key=a ~ group=!Patient:AL ~ rule=none\nresource=Group:Patient ~ key=a\n\
                 resource=Nobody ~ key=a\nfrom=a ~ to=gender\nresource=Patient ~ to=gender ~ ref=Patient\nresource=Patient ~ asserted=a\n\
                 resource=Patient ~ rule=none\nresource=Patient ~ key=a ~ class=rumour\nresource=Patient ~ key=a ~ when=a=",
            ),
            ("segments/pid[Patient]", "from=a ~ to=gender"),
        ],
        &[
            "messages/M.csv:7: resource: the label Patient is taken",
            "messages/M.csv:8: resource: Nobody is no resource type",
            "messages/M.csv:2: as: pid[Patient] does not build what `resource` names",
            "messages/M.csv:3: key: no message makes a resource labelled Nobody",
            "messages/M.csv:4: key: no key rule is called none",
            "messages/M.csv:5: group: write PARENT:NAME",
            "messages/M.csv:6: group: `!` wants the rule",
            "messages/M.csv:7: resource: the label Patient is taken",
            "messages/M.csv:8: resource: Nobody is no resource type",
            "messages/M.csv:9: a message row builds a resource",
            "messages/M.csv:10: to: a reference cannot stand there",
            "messages/M.csv:11: asserted: stands in the row that has the key",
            "messages/M.csv:12: rule: no rule is called none",
            "messages/M.csv:13: class: record, mention or message",
            "messages/M.csv:14: when: a=: nothing to compare with",
        ],
    );
    let header = |text: &str| Tables::from_iter([("messages/M".to_owned(), text.to_owned())]);
    for (text, expected) in [
        ("each,from\n", "messages/M.csv:1: the header must be"),
        ("", "messages/M.csv:1: the header must be"),
        (&format!("{HEADER}\n,,,,,,,,,,,,,,,,,,one too many\n"), "messages/M.csv:2: 19 cells"),
    ] {
        let error = Engine::compile(&header(text), SHAPE.clone(), Literal).err().map_or_else(String::new, |errors| errors.to_string());
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn an_unknown_message_says_nothing() {
    let engine = engine(&[("messages/OTHER", "")]);
    assert!(!engine.knows("M"));
    check(&engine, "(msg (a 1))", &["information not-mapped a@1"]);
}

proptest::proptest! {
    /// Same input, same output; no panic on anything; ordinals ascend, keys are whole.
    #[test]
    fn translation_is_pure_and_whole(words in proptest::collection::vec("(\\(id|\\(pid|\\(visit|\\(doctor|\\(item|\\(obs|\\(name|\\(nr|\\(action|\\)|DELETE|u\\^1|A| ){1}", 0..60)) {
        static ENGINE: LazyLock<Engine<Literal>> = LazyLock::new(|| engine(groups::EVERYTHING));
        let message = format!("(msg {}", words.concat());
        let one = explain_with(&ENGINE, &message, &settings(), true);
        let two = explain_with(&ENGINE, &message, &settings(), false);
        let words = |explanation: &Explanation| explanation.translation.contributions.iter().map(|c| format!("{:?}{}{}", c, c.key.value, contribution(c).join("\n"))).collect::<Vec<_>>();
        proptest::prop_assert_eq!(words(&one), words(&two));
        proptest::prop_assert_eq!(&one.translation.issues, &two.translation.issues);
        let mut last = 0;
        for contribution in &one.translation.contributions {
            proptest::prop_assert!(!contribution.key.system.is_empty() && !contribution.key.value.is_empty());
            for statement in contribution.statements.iter().filter(|_| contribution.class != Class::Mention) {
                proptest::prop_assert!(statement.rank.ordinal > last);
                last = statement.rank.ordinal;
            }
        }
    }
}
