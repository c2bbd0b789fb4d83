use super::*;
use crate::access::testing::{AUDIENCE, HEADER, ISSUER, NOW, b64, jwks, payload, token, verifier};
use crate::access::{Permission, Predicate};

const THUMB: [u8; 32] = [9; 32];

fn grant(header: &str, payload: &str) -> Result<Grant, TokenError> {
    verifier(&["ES256", "RS256", "EdDSA"]).grant(&token("ec", header, payload), Some(&THUMB))
}

#[test]
fn each_algorithm_verifies_with_its_own_key() {
    for (key, algorithm) in [("ec", "ES256"), ("ed", "EdDSA"), ("rsa", "RS256")] {
        let header = |algorithm: &str| format!(r#"{{"alg":"{algorithm}","kid":"{key}"}}"#);
        let good = token(key, &header(algorithm), &payload(&[]));
        let all = verifier(&["ES256", "RS256", "EdDSA"]);
        let grant = all.grant(&good, None).unwrap();
        assert_eq!(grant.principal().client, "app");
        assert_eq!(grant.principal().token_id, "t1");
        assert_eq!(grant.predicate("Patient", Permission::Search), Predicate::All);
        for other in ["none", "HS256", "ES256", "RS256", "EdDSA", "RS512", "es256", ""].iter().filter(|other| **other != algorithm) {
            assert_eq!(all.grant(&token(key, &header(other), &payload(&[])), None).unwrap_err(), TokenError::Algorithm, "{key} {other}");
        }
        let others: Vec<&str> = ["ES256", "RS256", "EdDSA"].into_iter().filter(|other| *other != algorithm).collect();
        assert_eq!(verifier(&others).grant(&good, None).unwrap_err(), TokenError::Key, "{algorithm} is not configured");
        let forged = token(if key == "ec" { "ed" } else { "ec" }, &header(algorithm), &payload(&[]));
        assert_eq!(all.grant(&forged, None).unwrap_err(), TokenError::Signature);
    }
}

#[test]
fn claims_are_exact_and_of_their_types() {
    let check = |changes: &[&str], expected: Result<(), TokenError>| {
        assert_eq!(grant(HEADER, &payload(changes)).map(drop), expected, "{changes:?}");
    };
    check(&[], Ok(()));
    check(&[&format!("aud=[\"https://other\",\"{AUDIENCE}\"]")], Ok(()));
    check(&[&format!("exp={}", NOW - 29)], Ok(()));
    check(&[&format!("exp={}.5", NOW + 1)], Ok(()));
    check(&[&format!("nbf={}", NOW + 29)], Ok(()));
    check(&["-sub"], Ok(()));
    check(&["-client_id"], Ok(()));
    check(&["-jti", "-scope"], Ok(()));
    check(&["iss=\"https://idp.example/\""], Err(TokenError::Issuer));
    check(&["iss=\"https://idp.example.evil\""], Err(TokenError::Issuer));
    check(&["-iss"], Err(TokenError::Issuer));
    check(&["iss=[\"https://idp.example\"]"], Err(TokenError::Malformed));
    check(&["aud=\"https://gw.example/fhir/\""], Err(TokenError::Audience));
    check(&["aud=\"https://gw.example/fhir2\""], Err(TokenError::Audience));
    check(&["aud=[]"], Err(TokenError::Audience));
    check(&["-aud"], Err(TokenError::Audience));
    check(&[&format!("aud=[\"{AUDIENCE}\",1]")], Err(TokenError::Malformed));
    check(&[&format!("exp={}", NOW - 30)], Err(TokenError::Expired));
    check(&[&format!("exp=\"{}\"", NOW + 300)], Err(TokenError::Malformed));
    check(&["-exp"], Err(TokenError::Malformed));
    check(&["exp=null"], Err(TokenError::Malformed));
    check(&["exp=1e400"], Err(TokenError::Malformed));
    check(&[&format!("nbf={}", NOW + 31)], Err(TokenError::NotYet));
    check(&[&format!("nbf=\"{}\"", NOW - 1)], Err(TokenError::Malformed));
    check(&[&format!("iat={}", NOW + 31)], Err(TokenError::NotYet));
    check(&["iat=true"], Err(TokenError::Malformed));
    check(&["sub=1"], Err(TokenError::Malformed));
    check(&["scope=[\"system/*.rs\"]"], Err(TokenError::Malformed));
    check(&["jti=7"], Err(TokenError::Malformed));
    check(&["patient=\"a b\""], Err(TokenError::Malformed));
    check(&["patient=\"Patient/1\""], Err(TokenError::Malformed));
    check(&["patient=1"], Err(TokenError::Malformed));
    check(&["-sub", "-client_id"], Err(TokenError::Client));
    check(&["client_id=\"\""], Err(TokenError::Client));
    check(&["nonce=\"n\""], Err(TokenError::Header));
    check(&["at_hash=\"n\""], Err(TokenError::Header));
}

#[test]
fn members_that_stand_twice_are_refused_in_header_and_claims() {
    let twice = payload(&[]).replacen('{', "{\"scope\":\"system/*.rs\",", 1);
    assert_eq!(grant(HEADER, &twice).map(drop), Err(TokenError::Malformed));
    let header = r#"{"alg":"none","alg":"ES256","kid":"ec"}"#;
    assert_eq!(grant(header, &payload(&[])).map(drop), Err(TokenError::Malformed));
    let nested = payload(&["cnf={\"x5t#S256\":\"a\",\"x5t#S256\":\"b\"}"]);
    assert_eq!(grant(HEADER, &nested).map(drop), Err(TokenError::Malformed));
}

#[test]
fn headers_that_would_lead_elsewhere_are_refused() {
    for extra in [
        r#""crit":[]"#,
        r#""crit":["exp"],"exp":1"#,
        r#""jku":"https://evil""#,
        r#""x5u":"https://evil""#,
        r#""jwk":{}"#,
        r#""x5c":[]"#,
        r#""b64":false"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
        r#""cty":"JWT""#,
        r#""typ":"id_token""#,
        r#""typ":"logout+jwt""#,
        r#""typ":"dpop+jwt""#,
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"ec",{extra}}}"#);
        assert_eq!(grant(&header, &payload(&[])).map(drop), Err(TokenError::Header), "{extra}");
    }
    for good in [r#","typ":"JWT""#, r#","typ":"application/at+jwt""#, r#","typ":"AT+JWT""#, r#","x5t":"a""#, ""] {
        assert!(grant(&format!(r#"{{"alg":"ES256","kid":"ec"{good}}}"#), &payload(&[])).is_ok(), "{good}");
    }
    for (header, error) in [
        (r#"{"alg":"ES256"}"#, TokenError::Key),
        (r#"{"alg":"ES256","kid":"nobody"}"#, TokenError::Key),
        (r#"{"alg":"ES256","kid":"enc"}"#, TokenError::Key),
        (r#"{"alg":"ES256","kid":["ec"]}"#, TokenError::Malformed),
        (r#"{"kid":"ec"}"#, TokenError::Malformed),
        ("[]", TokenError::Malformed),
    ] {
        assert_eq!(grant(header, &payload(&[])).map(drop), Err(error), "{header}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let verifier = verifier(&["ES256"]);
    let good = token("ec", HEADER, &payload(&[]));
    let mut bad: Vec<String> = ["", ".", "..", "a.b.c", "a.b", "....", "eyJhbGciOiJub25lIn0.e30."].map(str::to_owned).into();
    bad.push(format!("{good}."));
    bad.push(format!("{good}="));
    bad.push("a".repeat(TOKEN_BYTES_MAX + 1));
    for token in bad {
        assert!(verifier.grant(&token, None).is_err());
    }
    for at in 0..good.len() {
        assert!(verifier.grant(&good[..at], None).is_err(), "cut at {at}");
    }
}

#[test]
fn a_bound_token_is_good_on_its_own_connection_alone() {
    let here = format!("cnf={{\"x5t#S256\":\"{}\"}}", b64(THUMB));
    let bound = token("ec", HEADER, &payload(&[&here]));
    let verifier = verifier(&["ES256"]);
    assert!(verifier.grant(&bound, Some(&THUMB)).is_ok());
    assert_eq!(verifier.grant(&bound, Some(&[8; 32])).unwrap_err(), TokenError::Binding);
    assert_eq!(verifier.grant(&bound, None).unwrap_err(), TokenError::Binding);
    assert_eq!(verifier.sender(&bound, None).unwrap_err(), TokenError::Binding);
    for unknown in [
        "cnf={\"jkt\":\"abc\"}".to_owned(),
        "cnf={}".to_owned(),
        "cnf={\"x5t#S256\":1}".to_owned(),
        format!("cnf={{\"x5t#S256\":\"{}\",\"jkt\":\"a\"}}", b64(THUMB)),
    ] {
        assert_eq!(grant(HEADER, &payload(&[&unknown])).map(drop), Err(TokenError::Binding), "{unknown}");
    }
    assert_eq!(grant(HEADER, &payload(&["cnf=\"x\""])).map(drop), Err(TokenError::Malformed));
}

#[test]
fn each_scope_keeps_its_own_bound_and_type() {
    let check = |scope: &str, patient: Option<&str>, kind: &str, expected: [Predicate; 2]| {
        let scope = format!("scope=\"{scope}\"");
        let patient = patient.map(|id| format!("patient=\"{id}\""));
        let changes: Vec<&str> = [scope.as_str()].into_iter().chain(patient.as_deref()).collect();
        let grant = grant(HEADER, &payload(&changes)).unwrap();
        assert_eq!([Permission::Read, Permission::Search].map(|permission| grant.predicate(kind, permission)), expected, "{scope}");
    };
    use Predicate::{All, Nothing, Patient};
    let one = || Patient("p1".into());
    check("system/Patient.r", None, "Patient", [All, Nothing]);
    check("system/Patient.rs", None, "Observation", [Nothing, Nothing]);
    check("patient/*.rs", Some("p1"), "Observation", [one(), one()]);
    check("patient/Observation.rs system/Patient.s", Some("p1"), "Patient", [Nothing, All]);
    check("patient/Observation.rs system/Patient.s", Some("p1"), "Observation", [one(), one()]);
    check("patient/*.s user/*.r", Some("p1"), "Encounter", [All, one()]);
    check("patient/*.rs", None, "Patient", [Nothing, Nothing]);
    check("patient/*.rs user/*.rs", None, "Patient", [Nothing, Nothing]);
    check("patient/*.rs", Some("p1"), "AuditEvent", [Nothing, Nothing]);
    check("patient/AuditEvent.rs", Some("p1"), "AuditEvent", [Nothing, Nothing]);
    check("system/AuditEvent.rs", None, "AuditEvent", [All, All]);
    check("system/*.rs", None, "AuditEvent", [All, All]);
    check("system/Patient.rs?_id=1", None, "Patient", [Nothing, Nothing]);
    check("openid launch/patient", Some("p1"), "Patient", [Nothing, Nothing]);
    check("", None, "Patient", [Nothing, Nothing]);
    check("ingest", None, "Patient", [Nothing, Nothing]);
}

#[test]
fn ingest_needs_its_own_scope() {
    let verifier = verifier(&["ES256"]);
    let sender = |scope: &str| verifier.sender(&token("ec", HEADER, &payload(&[&format!("scope=\"{scope}\"")])), None);
    let client = |scope: &str| sender(scope).map(|sender| sender.client);
    assert_eq!(client("ingest"), Ok("app".into()));
    assert_eq!(client("system/*.cruds ingest"), Ok("app".into()));
    assert_eq!(client("system/*.cruds"), Err(TokenError::Scope));
    assert_eq!(client("ingest2"), Err(TokenError::Scope));
}

#[test]
fn keys_are_replaced_as_a_whole_or_stay() {
    let verifier = verifier(&["ES256"]);
    let held = verifier.clone();
    let good = token("ec", HEADER, &payload(&[]));
    let issuer = |name: &str, jwks: String| Issuer {
        issuer: name.into(),
        audience: AUDIENCE.into(),
        jwks: jwks.into_bytes(),
        algorithms: vec!["ES256".into()],
    };
    assert!(Believed::new(vec![issuer(ISSUER, "{".into())]).is_err());
    assert!(held.grant(&good, None).is_ok());
    verifier.replace(Believed::new(vec![issuer("https://other.example", jwks())]).unwrap());
    assert_eq!(held.grant(&good, None).unwrap_err(), TokenError::Issuer);
    verifier.replace(Believed::new(vec![issuer(ISSUER, jwks())]).unwrap());
    assert!(held.grant(&good, None).is_ok());
}

#[test]
fn issuers_that_cannot_be_trusted_do_not_start() {
    let make = |jwks: &str, algorithms: &[&str]| {
        let issuer = Issuer {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            jwks: jwks.as_bytes().to_vec(),
            algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
        };
        Verifier::new(vec![issuer], Clock::System).map(drop).unwrap_err()
    };
    let ed = |more: &str| format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{}"{more}}}]}}"#, b64([1; 32]));
    for (jwks, algorithms, reason) in [
        (jwks(), &["HS256"][..], "algorithms are"),
        (jwks(), &["none"], "algorithms are"),
        (jwks(), &[], "no key for"),
        ("{".into(), &["ES256"], "cannot be read"),
        (r#"{"keys":[],"keys":[]}"#.into(), &["ES256"], "cannot be read"),
        ("{}".into(), &["ES256"], "has no keys"),
        (r#"{"keys":[]}"#.into(), &["ES256"], "no key for"),
        (r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#.into(), &["ES256"], "private"),
        (ed(r#","kid":"a","d":"x""#), &["EdDSA"], "private"),
        (ed(""), &["EdDSA"], "no kid"),
        (ed(r#","kid":"a","alg":"ES256""#), &["EdDSA"], "no key for"),
        (ed(r#","kid":"a","key_ops":["sign"]"#), &["EdDSA"], "no key for"),
        (r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AQ"}]}"#.into(), &["EdDSA"], "32 bytes"),
        (r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#.into(), &["RS256"], "2048"),
    ] {
        let error = make(&jwks, algorithms);
        assert!(error.contains(reason) && error.starts_with("issuer "), "{error} / {reason}");
    }
    let twice = jwks().replace("\"kid\":\"ed\"", "\"kid\":\"ec\"");
    assert!(make(&twice, &["ES256", "EdDSA"]).contains("twice"));
}
