use super::jwks::{self, Key};
use super::{Grant, Principal, scope};
use crate::clock::Clock;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq;

/// A token's length before anything of it is decoded.
const TOKEN_BYTES_MAX: usize = 8192;
/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY_SECONDS: i64 = 30;
/// The scope that lets a client send, and read nothing.
const INGEST: &str = "ingest";

/// One issuer of tokens, as the configuration names it.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud`, exactly.
    pub audience: String,
    /// Its keys: the bytes of a JWK Set (RFC 7517).
    pub jwks: Vec<u8>,
    /// Of `ES256`, `RS256`, `EdDSA`.
    pub algorithms: Vec<String>,
}

/// Why a token is not believed. Closed; holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenError {
    /// Not three parts of base64url, not JSON, a member twice, or a claim of the wrong type.
    Malformed,
    /// A header that we do not follow: `crit`, `jku`, `x5u`, `jwk`, `b64`, `zip`, encryption, another `typ`.
    Header,
    /// No configured issuer.
    Issuer,
    /// No key of this issuer has the token's `kid`.
    Key,
    /// `alg` is not the key's, or not one that the issuer is configured with.
    Algorithm,
    Signature,
    Audience,
    Expired,
    /// `nbf` or `iat` lies ahead.
    NotYet,
    /// Bound to another certificate, or in a way that we do not know.
    Binding,
    /// It names no app.
    Client,
    /// For ingest: without that scope.
    Scope,
}

impl TokenError {
    /// The word of the audit and the metrics.
    pub fn word(self) -> &'static str {
        match self {
            TokenError::Malformed => "token-malformed",
            TokenError::Header => "token-header",
            TokenError::Issuer => "token-issuer",
            TokenError::Key => "token-key",
            TokenError::Algorithm => "token-algorithm",
            TokenError::Signature => "token-signature",
            TokenError::Audience => "token-audience",
            TokenError::Expired => "token-expired",
            TokenError::NotYet => "token-not-yet",
            TokenError::Binding => "token-binding",
            TokenError::Client => "token-client",
            TokenError::Scope => "token-scope",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for TokenError {}

/// Checks bearer tokens of the configured issuers (RFC 7519, RFC 8725, RFC 9068). Algorithm and key come from the
/// issuer's configuration, never from the token. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    issuers: Arc<RwLock<Arc<Issuers>>>,
    clock: Clock,
}

/// By `iss`.
type Issuers = BTreeMap<String, Trusted>;

/// Issuers whose keys were read and can be used.
pub struct Believed(Issuers);

impl Believed {
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, String> {
        trusted(issuers).map(Self)
    }
}

struct Trusted {
    audience: String,
    keys: BTreeMap<String, Key>,
}

impl Verifier {
    /// Errors name the issuer and what does not fit, for the operator. No issuer: no token is believed.
    pub fn new(issuers: Vec<Issuer>, clock: Clock) -> Result<Self, String> {
        Ok(Self { issuers: Arc::new(RwLock::new(Arc::new(trusted(issuers)?))), clock })
    }

    /// Believes these issuers from now on.
    pub fn replace(&self, believed: Believed) {
        *self.issuers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(believed.0);
    }

    fn issuers(&self) -> Arc<Issuers> {
        self.issuers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the bearer of this token, on a connection with this client certificate (SHA-256 of its DER), may see.
    pub fn grant(&self, token: &str, thumbprint: Option<&[u8; 32]>) -> Result<Grant, TokenError> {
        let claims = self.claims(token, thumbprint)?;
        let patient = claims.patient.as_deref();
        // A token with `patient/` scopes and no patient contradicts itself: it gives nothing, not even its other scopes.
        let contradicts = patient.is_none() && claims.scopes().any(scope::is_of_patient);
        let scopes = claims.scopes().filter(|_| !contradicts).filter_map(|text| scope::parse(text, patient)).collect();
        Ok(Grant { principal: claims.principal, scopes })
    }

    /// Whose a token is that carries the scope `ingest`.
    pub fn sender(&self, token: &str, thumbprint: Option<&[u8; 32]>) -> Result<Principal, TokenError> {
        let claims = self.claims(token, thumbprint)?;
        if claims.scopes().any(|scope| scope == INGEST) { Ok(claims.principal) } else { Err(TokenError::Scope) }
    }

    /// Whose a token is, and the scopes that it carries as they stand.
    pub fn scopes(&self, token: &str, thumbprint: Option<&[u8; 32]>) -> Result<(Principal, Vec<String>), TokenError> {
        let claims = self.claims(token, thumbprint)?;
        let scopes = claims.scopes().map(str::to_owned).collect();
        Ok((claims.principal, scopes))
    }

    fn claims(&self, token: &str, thumbprint: Option<&[u8; 32]>) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(TokenError::Malformed);
        };
        let (kid, algorithm) = head(&json(header)?)?;
        let payload_json = json(payload)?;
        let issuer = string(&payload_json, "iss")?.ok_or(TokenError::Issuer)?;
        let issuers = self.issuers();
        let trusted = issuers.get(&issuer).ok_or(TokenError::Issuer)?;
        let key = trusted.keys.get(&kid).ok_or(TokenError::Key)?;
        if key.name != algorithm {
            return Err(TokenError::Algorithm);
        }
        let signed = &token[..header.len() + 1 + payload.len()];
        if !jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, key.algorithm).unwrap_or(false) {
            return Err(TokenError::Signature);
        }
        self.check(issuer, trusted, &payload_json, thumbprint)
    }

    /// What the claims say, once the signature holds.
    fn check(&self, issuer: String, trusted: &Trusted, payload: &Json, thumbprint: Option<&[u8; 32]>) -> Result<Claims, TokenError> {
        // An ID token is for the app that asked for it, and says nothing about access (RFC 8725 §3.12).
        if ["nonce", "at_hash", "c_hash"].iter().any(|member| payload.get(member).is_some()) {
            return Err(TokenError::Header);
        }
        if !audiences(payload)?.contains(&trusted.audience.as_str()) {
            return Err(TokenError::Audience);
        }
        let now = self.clock.now().as_second();
        let (expires, not_before, issued) = (seconds(payload, "exp")?, seconds(payload, "nbf")?, seconds(payload, "iat")?);
        if expires.ok_or(TokenError::Malformed)?.saturating_add(LEEWAY_SECONDS) <= now {
            return Err(TokenError::Expired);
        }
        if [not_before, issued].into_iter().flatten().any(|at| at > now + LEEWAY_SECONDS) {
            return Err(TokenError::NotYet);
        }
        bound(payload.get("cnf"), thumbprint)?;
        let subject = string(payload, "sub")?;
        let client = string(payload, "client_id")?.or(string(payload, "azp")?).or_else(|| subject.clone());
        let principal = Principal {
            issuer,
            client: client.filter(|client| !client.is_empty()).ok_or(TokenError::Client)?,
            subject: subject.unwrap_or_default(),
            token_id: string(payload, "jti")?.unwrap_or_default(),
            user: string(payload, "fhirUser")?,
            bound: payload.get("cnf").is_some(),
        };
        let patient = string(payload, "patient")?;
        if patient.as_deref().is_some_and(|id| !is_id(id)) {
            return Err(TokenError::Malformed);
        }
        Ok(Claims { principal, patient, scope: string(payload, "scope")?.unwrap_or_default() })
    }
}

/// The issuers, as their keys are read.
fn trusted(issuers: Vec<Issuer>) -> Result<Issuers, String> {
    let mut trusted = Issuers::new();
    for Issuer { issuer, audience, jwks, algorithms } in issuers {
        if issuer.is_empty() || audience.is_empty() {
            return Err("an issuer needs its name and an audience".into());
        }
        let keys = jwks::keys(&jwks, &algorithms).map_err(|reason| format!("issuer {issuer}: {reason}"))?;
        if trusted.insert(issuer.clone(), Trusted { audience, keys }).is_some() {
            return Err(format!("issuer {issuer} stands twice"));
        }
    }
    Ok(trusted)
}

/// Shows how many issuers.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} issuers)", self.issuers().len())
    }
}

struct Claims {
    principal: Principal,
    patient: Option<String>,
    scope: String,
}

impl Claims {
    fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|scope| !scope.is_empty())
    }
}

/// A part of the token as JSON, read strictly: no member twice (RFC 7519 §4).
fn json(part: &str) -> Result<Json, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    Json::parse(&bytes).ok().filter(|json| matches!(json, Json::Object(_))).ok_or(TokenError::Malformed)
}

/// `kid` and `alg` of a header that asks for nothing else.
fn head(header: &Json) -> Result<(String, String), TokenError> {
    const REFUSED: [&str; 9] = ["crit", "jku", "x5u", "x5c", "jwk", "b64", "zip", "enc", "cty"];
    if REFUSED.iter().any(|member| header.get(member).is_some()) {
        return Err(TokenError::Header);
    }
    if let Some(kind) = string(header, "typ")? {
        let kind = kind.to_ascii_lowercase();
        if !matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt") {
            return Err(TokenError::Header);
        }
    }
    let algorithm = string(header, "alg")?.ok_or(TokenError::Malformed)?;
    let kid = string(header, "kid")?.ok_or(TokenError::Key)?;
    Ok((kid, algorithm))
}

/// A claim that is a string; anything else in its place is an error, and not an absence.
fn string(object: &Json, name: &str) -> Result<Option<String>, TokenError> {
    match object.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.to_string())),
        Some(_) => Err(TokenError::Malformed),
    }
}

/// A NumericDate, which may have a fraction: whole seconds, rounded down.
fn seconds(object: &Json, name: &str) -> Result<Option<i64>, TokenError> {
    match object.get(name) {
        None => Ok(None),
        Some(Json::Number(text)) => {
            if let Ok(whole) = text.parse::<i64>() {
                return Ok(Some(whole));
            }
            let value = text.parse::<f64>().ok().filter(|value| value.abs() < 1e15).ok_or(TokenError::Malformed)?;
            #[allow(clippy::cast_possible_truncation)]
            Ok(Some(value.floor() as i64))
        }
        Some(_) => Err(TokenError::Malformed),
    }
}

fn audiences(payload: &Json) -> Result<Vec<&str>, TokenError> {
    let stated = payload.get("aud").ok_or(TokenError::Audience)?;
    stated.each().iter().map(|one| one.as_str().ok_or(TokenError::Malformed)).collect()
}

/// A token bound to a key is a bearer's only with that key on this very connection (RFC 8705 §3). A binding that we do
/// not know is not one that we may overlook.
fn bound(confirmation: Option<&Json>, thumbprint: Option<&[u8; 32]>) -> Result<(), TokenError> {
    let Some(confirmation) = confirmation else { return Ok(()) };
    let Json::Object(members) = confirmation else { return Err(TokenError::Malformed) };
    match (members.as_slice(), thumbprint) {
        ([(name, Json::String(stated))], Some(thumbprint)) if &**name == "x5t#S256" => {
            let here = URL_SAFE_NO_PAD.encode(thumbprint);
            if bool::from(here.as_bytes().ct_eq(stated.as_bytes())) { Ok(()) } else { Err(TokenError::Binding) }
        }
        _ => Err(TokenError::Binding),
    }
}

/// Whether this is an id as FHIR defines it. Other text is the name of no resource.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
