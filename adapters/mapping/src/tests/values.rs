//! What single rows make: types, codes, places, slots.

use super::*;

#[test]
fn slots_are_at_data_type_grain() {
    let engine = engine(&[
        ("messages/M", "from=v ~ as=v[Encounter] ~ resource=Encounter ~ key=ID:v/id"),
        (
            "segments/v[Encounter]",
            "from=id ~ to=identifier ~ as=id[Identifier]
             from=in ~ to=period.start
             from=out ~ to=period.end
             from=stay ~ to=period ~ as=stay[Period]
             from=home ~ to=hospitalization.dischargeDisposition.text
             from=food ~ to=hospitalization.dietPreference.text
             each=doctor ~ from=name ~ to=participant.individual.display
             each=doctor ~ from=role ~ to=participant.type.text
             from=kind ~ to=type[1].text
             from=code ~ to=type[1].coding.code
             from=why ~ to=reasonCode.text",
        ),
        ("datatypes/id[Identifier]", "from=. ~ to=value"),
        ("datatypes/stay[Period]", "from=from ~ to=start\nfrom=to ~ to=end"),
    ]);
    check(
        &engine,
        "(msg (v (id 1) (in 20260102) (out 2026010312) (home away) (food soup) (doctor (name Ada) (role x)) (doctor (name Eva)) (kind k) (code c) (why a) (why b)))",
        &[
            "Encounter urn:landbridge:f:id 1",
            r#"  owner identifier<id@f [{"value":"1"}]"#,
            r#"  owner period.start {"period":{"start":"2026-01-02"}}"#,
            r#"  owner period.end {"period":{"end":"2026-01-03T12:00:00+00:00"}}"#,
            r#"  owner hospitalization.dischargeDisposition {"hospitalization":{"dischargeDisposition":{"text":"away"}}}"#,
            r#"  owner hospitalization.dietPreference<food@f [{"text":"soup"}]"#,
            r#"  owner type<kind@f [{"text":"k","coding":[{"code":"c"}]}]"#,
            r#"  owner reasonCode<why@f [{"text":"a"}]"#,
            r#"  owner participant<doctor@f [{"individual":{"display":"Ada"},"type":[{"text":"x"}]},{"individual":{"display":"Eva"}}]"#,
            "information not-mapped why@15",
        ],
    );
    // A data type that gives both halves, and one that deletes them.
    check(
        &engine,
        "(msg (v (id 1) (stay (from 2026) (to 2027))))",
        &[
            "Encounter urn:landbridge:f:id 1",
            r#"  owner identifier<id@f [{"value":"1"}]"#,
            r#"  owner period.start {"period":{"start":"2026"}}"#,
            r#"  owner period.end {"period":{"end":"2027"}}"#,
        ],
    );
    check(
        &engine,
        "(msg (v (id 1) (stay DELETE) (home DELETE) (doctor DELETE)))",
        &[
            "Encounter urn:landbridge:f:id 1",
            r#"  owner identifier<id@f [{"value":"1"}]"#,
            "  owner period.start cleared",
            "  owner period.end cleared",
            "  owner hospitalization.dischargeDisposition cleared",
            "  owner participant<doctor@f cleared",
        ],
    );
}

#[test]
fn types_choices_and_codes() {
    let engine = engine(&[
        ("messages/M", "from=o ~ as=o[Observation] ~ resource=Observation ~ key=ID:o/id"),
        (
            "segments/o[Observation]",
            "from=value ~ to=value[x] ~ as_by=type:N=n[Quantity] T=string B=boolean *=text
             from=code ~ to=code ~ codes=map
             from=more ~ to=interpretation ~ as=c[CodeableConcept] ~ codes=map
             from=state ~ to=status ~ codes=states
             from=first second ~ join=,_ ~ to=note.text ~ as=markdown",
        ),
        ("datatypes/n[Quantity]", "from=. ~ to=value"),
        ("datatypes/c[CodeableConcept]", "from=code ~ to=coding[1].code\nfrom=system ~ to=coding[1].system\nfrom=words ~ to=text"),
        ("codesystems/map", "a,urn:s,A,Alpha,\na,urn:t,=,,\nn,,,,"),
        ("codesystems/states", "f,,final,,\nx,,wrong,,\n"),
    ]);
    let line = |value: &str| format!("  {value}");
    for (given, expected) in [
        ("(type N) (value 6.30)", vec![line(r#"value[x] {"valueQuantity":{"value":6.30}}"#)]),
        ("(type N) (value .5)", vec![line(r#"value[x] {"valueQuantity":{"value":0.5}}"#), "information altered value@4".into()]),
        ("(type N) (value x)", vec!["warning data-type value@4".into()]),
        ("(type T) (value x)", vec![line(r#"value[x] {"valueString":"x"}"#)]),
        ("(type B) (value true)", vec![line(r#"value[x] {"valueBoolean":true}"#)]),
        ("(type Q) (value x)", vec![line(r#"value[x] {"valueString":"x"}"#), "information not-mapped type@3".into()]),
        (
            "(code a)",
            vec![line(r#"code {"code":{"coding":[{"system":"urn:s","code":"A","display":"Alpha"},{"system":"urn:t","code":"a"}]}}"#)],
        ),
        ("(code b)", vec![line(r#"code {"code":{"text":"b"}}"#), "information unknown-code code@3".into()]),
        ("(code n)", vec![]),
        (
            "(more (code a) (system urn:own) (words w))",
            vec![line(
                r#"interpretation<more@f [{"coding":[{"system":"urn:s","code":"A","display":"Alpha"},{"system":"urn:t","code":"a"},{"code":"a","system":"urn:own"}],"text":"w"}]"#,
            )],
        ),
        ("(more (code n) (words w))", vec![line(r#"interpretation<more@f [{"coding":[{"code":"n"}],"text":"w"}]"#)]),
        ("(state f)", vec![line(r#"status {"status":"final"}"#)]),
        ("(state g)", vec!["warning unknown-code state@3".into()]),
        ("(state x)", vec!["warning unknown-code state@3".into()]),
        ("(first a) (second b) (first c)", vec![line(r#"note<first@f [{"text":"a, c, b"}]"#)]),
        ("(second b)", vec![line(r#"note<first@f [{"text":"b"}]"#)]),
    ] {
        let found = said(&engine, &format!("(msg (o (id u^1) {given}))"));
        let found: Vec<&String> = found
            .iter()
            .filter(|line| !line.starts_with("Obs") && !line.contains("identifier<key") && !line.ends_with("not-mapped id@2"))
            .collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{given}");
    }
}

#[test]
fn conditions_constants_and_what_deletes() {
    let engine = engine(&[
        PATIENT,
        (
            "segments/pid[Patient]",
            "from=id ~ to=identifier ~ as=id[Identifier]
             from=id ~ to=active ~ assign=true ~ when=state=on && !dead || state in yes,sure
             from=dead ~ to=deceasedBoolean ~ when=!deadat
             from=deadat ~ to=deceased[x] ~ as=dateTime
             from=name ~ to=name ~ as=name[HumanName]
             from=alias ~ to=name ~ as=name[HumanName]
             from=born ~ to=birthDate
             from=born ~ to=birthDate.extension[1].url ~ assign=urn:born
             from=born ~ to=birthDate.extension[1].valueDateTime
             from=state ~ note=steers alone",
        ),
        ("datatypes/id[Identifier]", "from=. ~ to=value"),
        ("datatypes/name[HumanName]", "from=family . ~ to=family\nfrom=given ~ to=given"),
    ]);
    let head = ["Patient urn:u 1", r#"  identifier<id@f [{"value":"u^1"}]"#];
    for (given, expected) in [
        ("(state on)", vec![r#"  active {"active":true}"#]),
        ("(state on) (dead true)", vec![r#"  deceased[x] {"deceasedBoolean":true}"#]),
        ("(state sure) (dead DELETE)", vec![r#"  active {"active":true}"#, "  deceased[x] cleared"]),
        ("(dead DELETE) (deadat 2026)", vec![r#"  deceased[x] {"deceasedDateTime":"2026"}"#, "information not-mapped dead@3"]),
        (
            "(name Nagy) (name (family Kis) (given A) (given B))",
            vec![r#"  name<name@f [{"family":"Nagy"},{"family":"Kis","given":["A","B"]}]"#],
        ),
        ("(name DELETE) (alias X)", vec!["  name<name@f cleared", r#"  name<alias@f [{"family":"X"}]"#]),
        ("(name DELETE) (name A)", vec![r#"  name<name@f [{"family":"A"}]"#, "information not-mapped name@3"]),
        (
            "(born 197002281200)",
            vec![
                r#"  birthDate {"birthDate":"1970-02-28","_birthDate":{"extension":[{"url":"urn:born","valueDateTime":"1970-02-28T12:00:00+00:00"}]}}"#,
                "information altered born@3",
            ],
        ),
        // Two rows read it, and what is wrong with it is said once.
        ("(born soon)", vec!["warning data-type born@3"]),
    ] {
        let message = format!("(msg (pid (id u^1) {given}))");
        let found: Vec<String> = said(&engine, &message)
            .into_iter()
            .filter(|line| !line.contains(r#"{"_birthDate":{"extension":[{"url":"urn:born"}]}}"#))
            .collect();
        assert_eq!(found, [head.to_vec(), expected].concat(), "{message}");
    }
}

#[test]
fn when_things_are_said_ranks_them() {
    let engine = engine(&[
        (
            "messages/M",
            "from=pid ~ as=pid[Patient] ~ resource=Patient ~ key==ID:pid/id ~ asserted=recorded sent
             each=obs ~ as=obs[Observation] ~ resource=Observation ~ key=ID:id",
        ),
        (
            "segments/pid[Patient]",
            "from=born ~ to=birthDate\nto=gender ~ assign=unknown ~ class=implied\nfrom=by ~ to=generalPractitioner ~ resource=Practitioner ~ class=mention ~ key=ID:. ~ as=by[Practitioner]",
        ),
        ("segments/obs[Observation]", "from=final ~ to=status"),
        ("segments/by[Practitioner]", "from=. ~ to=name.family"),
    ]);
    let ranks = |message: &str| {
        let explanation = explain_with(&engine, message, &settings(), false);
        let contributions = explanation.translation.contributions;
        let ranks: Vec<_> =
            contributions.iter().filter_map(|contribution| contribution.statements.first()).map(|statement| statement.rank).collect();
        (ranks, explanation.translation.issues.into_iter().filter(|issue| issue.code == contract::IssueCode::Time).collect::<Vec<_>>())
    };
    let (found, issues) = ranks("(msg (recorded 202601021130) (pid (id u^1) (born 1970) (by d^2)) (obs (id o^1) (final final)))");
    assert_eq!(issues.len(), 0);
    let minute = 60 * 1_000_000;
    assert_eq!((found[0].authority, found[0].asserted, found[0].sent), (Authority::Feed, SENT - 30 * minute, SENT));
    assert_eq!((found[0].sequence, found[0].settled, found[0].step, found[0].ordinal), (7, 0, 3, 1));
    assert_eq!((found[1].asserted, found[1].settled, found[1].step), (SENT, 1, 2));
    // A mention's rank is its day and its value, and nothing of the message.
    assert_eq!(
        (found[2].authority, found[2].asserted, found[2].sent, found[2].step, found[2].ordinal),
        (Authority::Mention, SENT - 720 * minute, 0, 0, 0)
    );
    assert_ne!(found[2].sequence, 0);
    let (again, _) = ranks("(msg (x 1) (recorded 202601020130) (pid (id u^7) (born 1980) (by d^2)))");
    assert_eq!(again[1], found[2]);
    // More than 5 minutes after the message: counts as it. Unreadable: the same.
    for (recorded, count) in [("202601021206", SENT), ("202601021205", SENT + 5 * minute), ("soon", SENT)] {
        let (found, issues) = ranks(&format!("(msg (recorded {recorded}) (pid (id u^1) (born 1970)))"));
        assert_eq!((found[0].asserted, issues.len()), (count, usize::from(recorded != "202601021205")), "{recorded}");
    }
}

#[test]
fn what_stands_together_is_one_slot_and_whole() {
    let engine = engine(&[
        ("messages/M", "each=obs ~ as=obs[Observation] ~ resource=Observation ~ key=ID:id"),
        (
            "segments/obs[Observation]",
            "from=status ~ to=status ~ slot=OBX ~ when=value
             from=status ~ to=status ~ when=!value
             to=status ~ assign=registered ~ class=implied ~ slot=OBX ~ when=value
             from=value ~ to=valueString ~ slot=OBX
             from=note ~ to=note.text ~ slot=OBX
             from=who ~ to=performer.display",
        ),
    ]);
    let all = |message: &str| {
        let explanation = explain_with(&engine, message, &settings(), false);
        explanation.translation.contributions[0]
            .statements
            .iter()
            .filter(|statement| matches!(statement.slot, Slot::Element(_)))
            .map(|statement| {
                format!(
                    "{:?} {:?} {}",
                    statement.rank.authority,
                    statement.slot,
                    statement.value.as_ref().map_or("cleared".into(), |value| value.to_string())
                )
            })
            .collect::<Vec<_>>()
    };
    let absent = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    assert_eq!(
        all("(msg (obs (id u^1) (status final) (value x) (note n) (who w)))"),
        [
            r#"Feed Element(OBX) {"status":"final","valueString":"x","note":[{"text":"n"}]}"#.to_owned(),
            format!(r#"Implied Element(code) {{"code":{absent}}}"#)
        ]
    );
    assert_eq!(all("(msg (obs (id u^1) (value x)))")[0], r#"Feed Element(OBX) {"valueString":"x","status":"registered"}"#);
    // A status alone says nothing of the rest; clearing one field does not clear what stands with it.
    assert_eq!(all("(msg (obs (id u^1) (status final) (note DELETE)))")[0], r#"Feed Element(status) {"status":"final"}"#);
    assert_eq!(all("(msg (obs (id u^1)))")[0], r#"Implied Element(OBX) {"status":"unknown"}"#);
}

#[test]
fn every_element_can_be_traced() {
    let engine = engine(&[
        PATIENT,
        (
            "segments/pid[Patient]",
            "from=name ~ to=name ~ as=name[HumanName]\nfrom=by ~ to=generalPractitioner ~ resource=Practitioner ~ class=mention ~ key=ID:id ~ as=by[Practitioner]\nto=gender ~ assign=male",
        ),
        ("datatypes/name[HumanName]", "from=family ~ to=family\nfrom=given ~ to=given"),
        ("segments/by[Practitioner]", "from=name ~ to=name ~ as=name[HumanName]"),
    ]);
    let explanation = explain_with(
        &engine,
        "(msg (pid (id u^1) (name (family A)) (name (given B) (given C)) (by (id d^1) (name (family D)))) (lost 1))",
        &settings(),
        true,
    );
    let lines: Vec<String> =
        explanation.traces.iter().map(|trace| format!("{} {} {} {}", trace.contribution, trace.element, trace.place, trace.row)).collect();
    assert_eq!(
        lines,
        [
            "0 gender  segments/pid[Patient]:4",
            "0 generalPractitioner[0] by@8 segments/pid[Patient]:3",
            "0 name[0].family family@4 datatypes/name[HumanName]:2",
            "0 name[1].given[0] given@6 datatypes/name[HumanName]:3",
            "0 name[1].given[1] given@7 datatypes/name[HumanName]:3",
            "0 identifier[0].system  key",
            "0 identifier[0].value  key",
            "1 name[0].family family@11 datatypes/name[HumanName]:2",
            "1 identifier[0].system by@8 key",
            "1 identifier[0].value by@8 key",
        ]
    );
    assert_eq!(explanation.unmapped, ["id@2", "id@9", "lost@12"]);
}

#[test]
fn rules_are_held_to_r4() {
    let engine = engine(&[
        (
            "messages/M",
            "from=pid ~ as=pid[Patient] ~ resource=Patient ~ key=rule:fixed
             from=prior ~ as=pid[Patient] ~ resource=Patient:other ~ key=ID:prior/id
             resource=Patient ~ rule=edge ~ when=prior",
        ),
        ("segments/pid[Patient]", "from=name ~ to=name.family ~ rule=shout\nfrom=sex ~ to=gender ~ rule=shout\nrule=wrong ~ when=bad"),
    ]);
    check(
        &engine,
        "(msg (pid (name ada) (sex m) (bad 1)) (prior (id u^2)))",
        &[
            "Patient urn:fixed 1",
            r#"  name<name@f [{"family":"ADA"}]"#,
            "  Edge(seealso) {\"reference\":\"Patient\"}",
            r#"  identifier<key@f [{"system":"urn:fixed","value":"1"}]"#,
            "Patient urn:u 2",
            r#"  identifier<key@f [{"system":"urn:u","value":"2"}]"#,
            "warning unknown-code sex@3",
            "warning identity pid@1",
            "warning data-type pid@1",
            "warning data-type pid@1",
            "warning data-type pid@1",
            "information not-mapped bad@4",
            "information not-mapped id@6",
        ],
    );
}
