use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Json;
use jsonwebtoken::{Algorithm, DecodingKey};
use std::collections::BTreeMap;

/// Shorter RSA keys are not believed (NIST SP 800-131A).
const RSA_BYTES_MIN: usize = 256;
const RSA_BYTES_MAX: usize = 1024;

/// A public key with the one algorithm it is for.
pub(super) struct Key {
    pub name: &'static str,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// The usable keys of a JWK Set by `kid`: those of a known type, for signatures, whose algorithm is configured. Keys
/// for other uses are passed over; what is wrong about a usable one is an error, and so is a set without any.
pub(super) fn keys(jwks: &[u8], algorithms: &[String]) -> Result<BTreeMap<String, Key>, String> {
    for algorithm in algorithms {
        if !["ES256", "RS256", "EdDSA"].contains(&algorithm.as_str()) {
            return Err("algorithms are ES256, RS256 and EdDSA".into());
        }
    }
    let set = Json::parse(jwks).map_err(|error| format!("its JWK Set cannot be read: {error}"))?;
    let Some(Json::Array(entries)) = set.get("keys") else { return Err("its JWK Set has no keys".into()) };
    let mut keys = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let wrong = |reason: &str| format!("key {} of its JWK Set: {reason}", at + 1);
        let text = |name: &str| entry.get(name).and_then(Json::as_str);
        if ["d", "k", "p", "q"].iter().any(|private| entry.get(private).is_some()) {
            return Err(wrong("it is private, and does not belong here"));
        }
        if text("use").is_some_and(|purpose| purpose != "sig") || entry.get("use").is_some() && text("use").is_none() {
            continue;
        }
        if entry.get("key_ops").is_some_and(|uses| !uses.each().iter().any(|one| one.as_str() == Some("verify"))) {
            continue;
        }
        let (name, algorithm) = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => ("ES256", Algorithm::ES256),
            (Some("RSA"), _) => ("RS256", Algorithm::RS256),
            (Some("OKP"), Some("Ed25519")) => ("EdDSA", Algorithm::EdDSA),
            _ => continue,
        };
        if entry.get("alg").is_some() && text("alg") != Some(name) || !algorithms.iter().any(|configured| configured == name) {
            continue;
        }
        let part = |name: &str| {
            text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or_else(|| wrong(&format!("{name} is not base64url")))
        };
        let key = match algorithm {
            Algorithm::ES256 => {
                let (x, y) = (part("x")?, part("y")?);
                if (x.len(), y.len()) != (32, 32) {
                    return Err(wrong("x and y of P-256 have 32 bytes"));
                }
                DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat())
            }
            Algorithm::EdDSA => {
                let x = part("x")?;
                if x.len() != 32 {
                    return Err(wrong("x of Ed25519 has 32 bytes"));
                }
                DecodingKey::from_ed_der(&x)
            }
            _ => {
                let (modulus, exponent) = (part("n")?, part("e")?);
                let modulus: &[u8] = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
                if !(RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&modulus.len()) {
                    return Err(wrong("an RSA key has 2048 to 8192 bits"));
                }
                DecodingKey::from_rsa_raw_components(modulus, &exponent)
            }
        };
        let kid = text("kid").filter(|kid| !kid.is_empty()).ok_or_else(|| wrong("it has no kid"))?;
        if keys.insert(kid.to_owned(), Key { name, algorithm, key }).is_some() {
            return Err(wrong("its kid stands twice"));
        }
    }
    if keys.is_empty() {
        return Err("its JWK Set has no key for a configured algorithm".into());
    }
    Ok(keys)
}
