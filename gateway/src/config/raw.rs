//! The configuration exactly as it is written. Unknown keys are errors.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub store: Store,
    pub keys: Keys,
    pub audit: Audit,
    pub https: Https,
    #[serde(default)]
    pub mllp: BTreeMap<String, Mllp>,
    #[serde(default)]
    pub feed: BTreeMap<String, Spanned<Feed>>,
    #[serde(default)]
    pub issuer: Vec<Spanned<Issuer>>,
    pub observe: Observe,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub engine: Spanned<String>,
    pub directory: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub id: Spanned<String>,
    pub seal: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    pub seals: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    pub listen: Spanned<String>,
    pub base_url: Spanned<String>,
    pub tls: Tls,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mllp {
    pub listen: Spanned<String>,
    pub tls: Spanned<TlsOrNone>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`tls` is a table { certificate, key, client_ca }, or \"none\"")]
pub enum TlsOrNone {
    Tls(Tls),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: Spanned<String>,
    pub key: Spanned<String>,
    pub client_ca: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    pub listener: Spanned<String>,
    pub adapter: Spanned<String>,
    pub peer: Option<Spanned<String>>,
    #[serde(default)]
    pub sender: Party,
    #[serde(default)]
    pub receiver: Party,
    pub timezone: Option<Spanned<String>>,
    pub primary_assigner: Option<Spanned<String>>,
    #[serde(default)]
    pub assigners: BTreeMap<String, Spanned<String>>,
    pub accepts: Spanned<Vec<String>>,
    #[serde(default)]
    pub owns: Vec<Spanned<String>>,
    #[serde(default)]
    pub reply: Reply,
    pub sequence: Option<Spanned<String>>,
    #[serde(default)]
    pub visit_assigners: Vec<String>,
    pub character_set: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Party {
    pub application: Option<String>,
    pub facility: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub malformed: Option<Spanned<String>>,
    pub unsupported: Option<Spanned<String>>,
    pub untranslatable: Option<Spanned<String>>,
    pub held: Option<Spanned<String>>,
    pub forbidden: Option<Spanned<String>>,
    pub transient: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    pub issuer: String,
    pub audience: String,
    pub jwks: Spanned<String>,
    pub algorithms: Spanned<Vec<String>>,
    pub token_endpoint: Spanned<String>,
    pub authorization_endpoint: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    pub listen: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub frame_bytes: Option<Spanned<u64>>,
    pub connections: Option<Spanned<u64>>,
    pub frame_seconds: Option<Spanned<u64>>,
    pub quarantine_frames: Option<Spanned<u64>>,
}
