//! Resources among one another: keys, references, groups, mentions.

use super::*;

/// A bit of everything, for messages made at random.
pub const EVERYTHING: &[(&str, &str)] = &[
    (
        "messages/M",
        "from=pid ~ as=pid[Patient] ~ resource=Patient ~ key==ID:pid/id ~ asserted=recorded sent
         each=visit* ~ as=visit[Encounter] ~ resource=Encounter ~ key=ID:id;@Patient+feed+name
         each=visit* ~ resource=Encounter ~ to=subject ~ ref=Patient
         each=item* ~ as=item[AllergyIntolerance] ~ resource=AllergyIntolerance ~ key=@Patient+name ~ group=Patient:AL
         each=obs* ~ as=obs[Condition] ~ resource=Condition ~ key=ID:id;@Encounter+name ~ group=!Patient:DG ~ rule=act",
    ),
    (
        "segments/pid[Patient]",
        "from=name ~ to=name.family\nfrom=doctor ~ to=generalPractitioner ~ resource=Practitioner ~ class=mention ~ key=ID:nr;name ~ as=doctor[Practitioner]",
    ),
    (
        "segments/visit[Encounter]",
        "each=doctor ~ from=. ~ to=participant.individual ~ resource=Practitioner ~ class=mention ~ key=ID:nr;name ~ as=doctor[Practitioner]\neach=doctor ~ from=action ~ to=participant.type.text",
    ),
    ("segments/doctor[Practitioner]", "from=nr ~ to=identifier.value\nfrom=name ~ to=name.family"),
    ("segments/item[AllergyIntolerance]", "from=name ~ to=code.text\nto=patient ~ ref=Patient"),
    ("segments/obs[Condition]", "from=name ~ to=code.text\nto=subject ~ ref=Patient\nto=encounter ~ ref=Encounter"),
];

#[test]
fn keys_in_their_order() {
    let engine = engine(&[
        (
            "messages/M",
            "from=pid ~ as=pid[Patient] ~ resource=Patient ~ key==ID:pid/id
             each=visit ~ as=visit[Encounter] ~ resource=Encounter ~ key=ID:id;@Patient+feed+number
             each=visit ~ resource=Encounter ~ to=subject ~ ref=Patient",
        ),
        ("segments/pid[Patient]", "from=born ~ to=birthDate"),
        ("segments/visit[Encounter]", "from=number ~ to=type.text"),
    ]);
    let key = |message: &str| -> Vec<String> {
        said(&engine, message).into_iter().filter(|line| !line.starts_with(' ') && !line.contains("not-mapped")).collect()
    };
    for (message, expected) in [
        ("(msg (pid (id u^1)) (visit (id v^2)))", vec!["Patient urn:u 1", "Encounter urn:v 2"]),
        ("(msg (pid (id 1)) (visit (id 2)))", vec!["Patient urn:landbridge:f:id 1", "Encounter urn:landbridge:f:id 2"]),
        ("(msg (pid (id u^1)) (visit (number 3|4)))", vec!["Patient urn:u 1", "Encounter urn:u 1|f|3%7C4"]),
        (
            "(msg (pid (id u^1)) (visit (id v^2)) (visit (id v^2)) (visit (id v^2)))",
            vec![
                "Patient urn:u 1",
                "Encounter urn:v 2",
                "Encounter urn:v 2#2",
                "Encounter urn:v 2#3",
                "warning identity visit@5",
                "warning identity visit@7",
            ],
        ),
    ] {
        assert_eq!(key(message), expected, "{message}");
    }
    let last = key("(msg (pid (born 1970)) (visit (x 1)))");
    assert!(last[0].starts_with("Patient urn:landbridge:f:frame ") && last[0].ends_with(":0"), "{last:?}");
    assert!(last[1].starts_with("Encounter urn:landbridge:f:frame ") && last[1].ends_with(":1"), "{last:?}");
    assert_eq!(last[2..], ["warning identity pid@1", "warning identity visit@3"]);
    let reasons = |message: &str| -> Vec<String> {
        let issues = explain_with(&engine, message, &settings(), false).translation.issues;
        issues.into_iter().filter(|issue| issue.code == contract::IssueCode::Identity).map(|issue| issue.reason.into_owned()).collect()
    };
    assert_eq!(
        reasons("(msg (pid (born 1970)) (visit (x 1)))"),
        [
            "no field identifies this Patient (pid/id): it is a new one with every message",
            "no field identifies this Encounter (id, number): it is a new one with every message",
        ]
    );
    assert_eq!(
        reasons("(msg (pid (id u^1)) (visit (id v^2)) (visit (id v^2)))"),
        ["the same key as visit@3: the two are told apart by their order alone"]
    );
    // Another message, another resource.
    assert_ne!(key("(msg (pid (born 1971)))")[0], last[0]);
}

#[test]
fn references_go_to_the_nearest_and_sets_keep_their_members() {
    let engine = engine(&[
        (
            "messages/M",
            "each=who ~ as=who[Patient] ~ resource=Patient ~ key==ID:id
             each=who/order ~ as=order[DiagnosticReport] ~ resource=DiagnosticReport ~ key=ID:id
             each=who/order ~ resource=DiagnosticReport ~ to=result ~ ref=Observation
             each=who/order/obs ~ as=obs[Observation] ~ resource=Observation ~ key=@DiagnosticReport+name",
        ),
        ("segments/who[Patient]", "from=born ~ to=birthDate"),
        ("segments/order[DiagnosticReport]", "from=name ~ to=code.text\nto=subject ~ ref=Patient"),
        ("segments/obs[Observation]", "from=name ~ to=code.text\nto=subject ~ ref=Patient"),
    ]);
    let found = explain_with(
        &engine,
        "(msg (who (id a^1) (order (id r^1) (obs (name x)) (obs (name y)))) (who (id a^2) (order (id r^2) (obs (name x)))))",
        &settings(),
        false,
    );
    let contributions = found.translation.contributions;
    let key = |contribution: &Contribution| format!("{} {}", contribution.key.kind, contribution.key.value);
    let points_at: Vec<String> = contributions
        .iter()
        .flat_map(|from| {
            let words = contribution_text(from);
            contributions
                .iter()
                .filter(move |to| words.contains(&settings().reference(&to.key)))
                .map(move |to| format!("{} > {}", key(from), key(to)))
        })
        .collect();
    assert_eq!(
        points_at,
        [
            "DiagnosticReport 1 > Patient 1",
            "DiagnosticReport 1 > Observation 1|x",
            "DiagnosticReport 1 > Observation 1|y",
            "DiagnosticReport 2 > Patient 2",
            "DiagnosticReport 2 > Observation 2|x",
            "Observation 1|x > Patient 1",
            "Observation 1|y > Patient 1",
            "Observation 2|x > Patient 2",
        ]
    );
    let report = contributions.iter().find(|contribution| &*contribution.key.kind == "DiagnosticReport").unwrap();
    assert_eq!(report.statements.iter().filter(|statement| matches!(statement.slot, Slot::Member { .. })).count(), 2);
}

fn contribution_text(contribution: &Contribution) -> String {
    contribution.statements.iter().filter_map(|statement| statement.value.as_ref()).map(|value| value.to_string()).collect()
}

#[test]
fn what_is_named_in_passing_is_one_resource_and_stays_with_its_words() {
    let engine = engine(EVERYTHING);
    check(
        &engine,
        "(msg (pid (id u^1) (doctor (nr d^7) (name Ada))) (visit (id v^1) (doctor (nr d^7) (name Ada)) (doctor (name Eva) (action x))))",
        &[
            "Patient urn:u 1",
            r#"  generalPractitioner<doctor@f [{"reference":"Practitioner","display":"Ada","identifier":{"value":"d^7"}}]"#,
            r#"  identifier<key@f [{"system":"urn:u","value":"1"}]"#,
            "Encounter urn:v 1",
            r#"  owner participant<doctor@f [{"individual":{"reference":"Practitioner","display":"Ada","identifier":{"value":"d^7"}}},{"individual":{"reference":"Practitioner","display":"Eva"},"type":[{"text":"x"}]}]"#,
            r#"  owner subject {"subject":{"reference":"Patient"}}"#,
            r#"  owner identifier<key@f [{"system":"urn:v","value":"1"}]"#,
            "Practitioner urn:d 7 mention",
            r#"  identifier<nr@f [{"value":"d^7"}]"#,
            r#"  name<name@f [{"family":"Ada"}]"#,
            "Practitioner urn:landbridge:f:name Eva mention",
            r#"  name<name@f [{"family":"Eva"}]"#,
            "information not-mapped id@2",
            "information not-mapped id@7",
        ],
    );
}

#[test]
fn groups_restate_assert_or_act() {
    let group = |message: &str| -> Vec<String> {
        said(&engine(EVERYTHING), message)
            .into_iter()
            .filter(|line| line.contains("group") || line.contains("item ") || line.contains(" in "))
            .collect()
    };
    for (message, expected) in [
        ("(msg (pid (id u^1)))", vec![]),
        (
            "(msg (pid (id u^1)) (item (name a)) (item (name b)))",
            vec![
                r#"  group AL [{"key":"urn:u|1|a"},{"key":"urn:u|1|b"}]"#,
                "AllergyIntolerance urn:u 1|a in AL urn:u|1|a",
                "AllergyIntolerance urn:u 1|b in AL urn:u|1|b",
            ],
        ),
        ("(msg (pid (id u^1)) (item (name DELETE)))", vec!["  group AL []"]),
        (
            "(msg (pid (id u^1)) (obs (id c^1) (action A)) (obs (id c^2) (action D)))",
            vec!["  item DG urn:c|1 {}", "  item DG urn:c|2 cleared", "Condition urn:c 1 in DG urn:c|1", "Condition urn:c 2 in DG urn:c|2"],
        ),
        ("(msg (pid (id u^1)) (obs (id c^1)))", vec![r#"  group DG [{"key":"urn:c|1"}]"#, "Condition urn:c 1 in DG urn:c|1"]),
        // What joins the parts of a key stands for nothing in a lone number; another's assigner gives no key of its own.
        (
            "(msg (pid (id u^1)) (obs (id c^1|%)))",
            vec![r#"  group DG [{"key":"urn:c|1%7C%25"}]"#, "Condition urn:c 1%7C%25 in DG urn:c|1%7C%25"],
        ),
        (
            "(msg (pid (id u^1)) (obs (id x^1)))",
            vec![r#"  group DG [{"key":"urn:landbridge:f:urn:x|1"}]"#, "Condition urn:landbridge:f:urn:x 1 in DG urn:landbridge:f:urn:x|1"],
        ),
    ] {
        assert_eq!(group(message), expected, "{message}");
    }
    let asserting = engine(&[
        (
            "messages/M",
            "from=pid ~ as=pid[Patient] ~ resource=Patient ~ key==ID:pid/id
             each=item ~ as=item[AllergyIntolerance] ~ resource=AllergyIntolerance ~ key=@Patient+name ~ group=+Patient:AL",
        ),
        ("segments/pid[Patient]", "from=born ~ to=birthDate"),
        ("segments/item[AllergyIntolerance]", "from=name ~ to=code.text"),
    ]);
    let found = said(&asserting, "(msg (pid (id u^1)) (item (name a)))");
    assert!(found.contains(&"  item AL urn:u|1|a {}".to_owned()) && !found.iter().any(|line| line.contains("group")), "{found:?}");
}

#[test]
fn a_message_makes_so_many_resources_and_no_more() {
    let engine = engine(EVERYTHING);
    let message = |count: usize| {
        let items: String = (0..count).map(|number| format!("(item (name {number}))")).collect();
        format!("(msg (pid (id u^1)) {items})")
    };
    let most = said(&engine, &message(9_999));
    assert_eq!(most.iter().filter(|line| line.contains(" in AL ")).count(), 9_999);
    let rejection = with_message(&engine, &message(10_000), &settings(), |engine, message| engine.translate(message));
    assert!(matches!(&rejection, Err(Rejection::Untranslatable(issues)) if issues[0].code == IssueCode::Limit));
}
