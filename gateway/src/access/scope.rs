use super::Scope;

/// One SMART scope, v2 or v1, read as a whole (SMART App Launch 2.2, *Scopes for requesting FHIR resources*). `None`:
/// not one, or one that gives nothing we serve. A scope bounded by a query (`?…`) gives nothing: reading it without its
/// bound would give more than it says. `patient`: the patient that `patient/` scopes are about.
pub(super) fn parse(text: &str, patient: Option<&str>) -> Option<Scope> {
    let (context, rest) = text.split_once('/')?;
    let (kind, letters) = rest.split_once('.')?;
    let patient = match context {
        "patient" => Some(patient?.to_owned()),
        "user" | "system" => None,
        _ => return None,
    };
    let named = kind.starts_with(|first: char| first.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    if kind != "*" && !named {
        return None;
    }
    let (read, search) = match letters {
        "read" | "*" => (true, true),
        // create, update, delete: nothing that is served.
        "write" => return None,
        letters => permissions(letters)?,
    };
    (read || search).then(|| Scope { kind: kind.to_owned(), read, search, patient })
}

/// Letters of `cruds`, each at most once and in that order.
fn permissions(letters: &str) -> Option<(bool, bool)> {
    let mut order = "cruds".chars();
    letters.chars().all(|letter| order.any(|next| next == letter)).then(|| (letters.contains('r'), letters.contains('s')))
}

/// Whether a scope is about a patient in context, whatever else it says.
pub(super) fn is_of_patient(text: &str) -> bool {
    text.starts_with("patient/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_give_what_they_say_and_nothing_else() {
        let check = |text: &str, expected: Option<(&str, bool, bool, Option<&str>)>| {
            let read = parse(text, Some("p1"));
            assert_eq!(
                read.as_ref().map(|scope| (scope.kind.as_str(), scope.read, scope.search, scope.patient.as_deref())),
                expected,
                "{text}"
            );
        };
        check("system/Patient.rs", Some(("Patient", true, true, None)));
        check("system/*.cruds", Some(("*", true, true, None)));
        check("user/Observation.r", Some(("Observation", true, false, None)));
        check("user/Observation.s", Some(("Observation", false, true, None)));
        check("patient/Observation.cus", Some(("Observation", false, true, Some("p1"))));
        check("patient/*.read", Some(("*", true, true, Some("p1"))));
        check("system/Patient.*", Some(("Patient", true, true, None)));
        for nothing in [
            "system/Patient.write",
            "system/Patient.cud",
            "system/Patient.sr",
            "system/Patient.rr",
            "system/Patient.",
            "system/Patient",
            "system/Patient.rs?_id=1",
            "system/Patient.rs ",
            " system/Patient.rs",
            "xsystem/Patient.rs",
            "system/patient.rs",
            "system/**.rs",
            "system/Pat*.rs",
            "system/Patient.rs.rs",
            "system/Patient.READ",
            "System/Patient.rs",
            "system//Patient.rs",
            "launch/patient",
            "openid",
            "ingest",
            "",
            "*/*.*",
        ] {
            check(nothing, None);
        }
        assert_eq!(parse("patient/*.rs", None), None, "without a patient");
    }
}
