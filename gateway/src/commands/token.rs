use super::{Done, Failure, Options};
use crate::config::{Config, Issuer};
use crate::development::coordinates;
use contract::Json;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// SMART scopes, separated by spaces: "system/*.rs", "patient/Observation.rs", "ingest"
    #[arg(long, value_name = "SCOPE")]
    pub scope: String,
    /// Id of the Patient in context; `patient/` scopes need one
    #[arg(long, value_name = "ID")]
    pub patient: Option<String>,
    /// The person at the app, as `Practitioner/ID` or an id alone
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// The app (or, with the scope `ingest`, the feed's peer)
    #[arg(long, value_name = "NAME", default_value = "landbridge-app")]
    pub client: String,
    /// How long it is valid
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub expires: u32,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    if arguments.patient.is_none() && arguments.scope.split(' ').any(|scope| scope.starts_with("patient/")) {
        return Err(Failure::usage("a `patient/` scope needs --patient ID"));
    }
    let signer = Signer::of(&options.load()?).map_err(Failure::failed)?;
    println!("{}", signer.sign(arguments, Timestamp::now()).map_err(Failure::failed)?);
    Ok(ExitCode::SUCCESS)
}

/// The development issuer: of the configured ones the first whose private key lies beside its JWK Set.
pub struct Signer {
    issuer: String,
    audience: String,
    kid: String,
    key: EncodingKey,
}

impl Signer {
    pub fn of(config: &Config) -> Result<Self, String> {
        let found = config.issuers.iter().find_map(|issuer| private_half(&issuer.jwks).map(|key| (issuer, key)));
        let (issuer, path) =
            found.ok_or("no issuer's private key lies beside its JWK Set (keys/issuer.key beside keys/issuer.jwks.json)")?;
        Self::new(issuer, &path)
    }

    fn new(issuer: &Issuer, path: &Path) -> Result<Self, String> {
        let wrong = |path: &Path, reason: &str| format!("{}: {reason}", path.display());
        let pem = std::fs::read_to_string(path).map_err(|error| wrong(path, &error.kind().to_string()))?;
        let key = KeyPair::from_pem(&pem).map_err(|_| wrong(path, "not a PKCS#8 private key"))?;
        let (x, y) = coordinates(key.public_key_raw());
        let set = std::fs::read(&issuer.jwks).map_err(|error| wrong(&issuer.jwks, &error.kind().to_string()))?;
        let set = Json::parse(&set).map_err(|_| wrong(&issuer.jwks, "not JSON"))?;
        let is = |entry: &Json, name: &str, value: &str| entry.get(name).and_then(Json::as_str) == Some(value);
        let public = set.get("keys").map(Json::each).unwrap_or_default().iter().find(|entry| is(entry, "x", &x) && is(entry, "y", &y));
        let kid = public.and_then(|entry| entry.get("kid")).and_then(Json::as_str);
        Ok(Self {
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            kid: kid.ok_or_else(|| wrong(&issuer.jwks, "it does not hold the public half of the private key beside it"))?.to_owned(),
            key: EncodingKey::from_ec_der(key.serialized_der()),
        })
    }

    /// A token in RFC 9068's shape with SMART's claims.
    pub fn sign(&self, arguments: &Arguments, now: Timestamp) -> Result<String, String> {
        let user = arguments.user.as_ref().map(|user| if user.contains('/') { user.clone() } else { format!("Practitioner/{user}") });
        let mut claims = serde_json::json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": arguments.user.as_ref().unwrap_or(&arguments.client),
            "client_id": arguments.client,
            "scope": arguments.scope,
            "iat": now.as_second(),
            "exp": now.as_second() + i64::from(arguments.expires),
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        if let Some(patient) = &arguments.patient {
            claims["patient"] = patient.as_str().into();
        }
        if let Some(user) = user {
            claims["fhirUser"] = user.into();
        }
        let header = Header { typ: Some("at+jwt".into()), kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| "the issuer key does not sign".into())
    }
}

/// `issuer.key` beside `issuer.jwks.json`.
fn private_half(jwks: &Path) -> Option<PathBuf> {
    let name = jwks.file_name()?.to_str()?;
    let path = jwks.with_file_name(format!("{}.key", name.split('.').next()?));
    path.is_file().then_some(path)
}
