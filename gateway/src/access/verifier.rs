use super::Grant;
use crate::clock::Clock;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenError {
    Malformed,
}

/// Checks bearer tokens of the configured issuers.
#[derive(Clone)]
pub struct Verifier {}

impl Verifier {
    /// Errors name the issuer and what does not fit, for the operator.
    pub fn new(_issuers: Vec<Issuer>, _clock: Clock) -> Result<Self, String> {
        Ok(Self {})
    }

    /// What the bearer of this token, on a connection with this client certificate (SHA-256), may see.
    pub fn grant(&self, _token: &str, _thumbprint: Option<&[u8; 32]>) -> Result<Grant, TokenError> {
        Err(TokenError::Malformed)
    }

    /// The client id of a token that carries the scope `ingest`.
    pub fn ingest_client(&self, _token: &str, _thumbprint: Option<&[u8; 32]>) -> Result<String, TokenError> {
        Err(TokenError::Malformed)
    }
}
