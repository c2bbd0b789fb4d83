//! Tokens for tests: an issuer with one key of each algorithm, made when the tests start.

use super::{Issuer, Verifier};
use crate::clock::Clock;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::LazyLock;

pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const AUDIENCE: &str = "https://gw.example/fhir";
pub(crate) const NOW: i64 = 1_800_000_000;

struct Keys {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    ed: Ed25519KeyPair::generate().unwrap(),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
});

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn jwks() -> String {
    let ec = KEYS.ec.public_key().as_ref();
    let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(KEYS.rsa.public_key());
    format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"ec","use":"sig","alg":"ES256","x":"{}","y":"{}"}},
        {{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"{}"}},
        {{"kty":"RSA","kid":"rsa","n":"{}","e":"{}"}},
        {{"kty":"RSA","kid":"enc","use":"enc","n":"AQAB","e":"AQAB"}},
        {{"kty":"EC","crv":"P-521","kid":"other","x":"","y":""}}]}}"#,
        b64(&ec[1..33]),
        b64(&ec[33..]),
        b64(KEYS.ed.public_key().as_ref()),
        b64(rsa.n),
        b64(rsa.e),
    )
}

pub(crate) fn verifier(algorithms: &[&str]) -> Verifier {
    let issuer = Issuer {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        jwks: jwks().into_bytes(),
        algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
    };
    Verifier::new(vec![issuer], Clock::held(jiff::Timestamp::from_second(NOW).unwrap())).unwrap()
}

fn sign(key: &str, signed: &str) -> Vec<u8> {
    match key {
        "ec" => KEYS.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
        "ed" => KEYS.ed.sign(signed.as_bytes()).as_ref().to_vec(),
        _ => {
            let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
            KEYS.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
            signature
        }
    }
}

pub(crate) fn token(key: &str, header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", b64(header), b64(payload));
    format!("{signed}.{}", b64(sign(key, &signed)))
}

pub(crate) const HEADER: &str = r#"{"alg":"ES256","kid":"ec","typ":"at+jwt"}"#;

/// A good payload with this laid over it: `name=json`, or `-name`.
pub(crate) fn payload(changes: &[&str]) -> String {
    let mut members: Vec<(String, String)> = [
        ("iss", format!("\"{ISSUER}\"")),
        ("aud", format!("\"{AUDIENCE}\"")),
        ("exp", (NOW + 300).to_string()),
        ("sub", "\"nurse\"".into()),
        ("client_id", "\"app\"".into()),
        ("jti", "\"t1\"".into()),
        ("scope", "\"system/Patient.rs\"".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for change in changes {
        if let Some(name) = change.strip_prefix('-') {
            members.retain(|(member, _)| member != name);
        } else {
            let (name, value) = change.split_once('=').unwrap();
            members.retain(|(member, _)| member != name);
            members.push((name.into(), value.into()));
        }
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}
