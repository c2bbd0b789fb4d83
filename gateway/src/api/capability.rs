//! What we tell before anyone is known: the CapabilityStatement and SMART's configuration, both from the served table.

use super::served::Served;
use super::{DATE_OF_CAPABILITIES, Settings};
use crate::search::parse::ParameterType;
use bytes::Bytes;
use contract::Json;
use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources::{
    CapabilityStatement, CapabilityStatementImplementation, CapabilityStatementRest, CapabilityStatementRestResource,
    CapabilityStatementRestResourceInteraction, CapabilityStatementRestResourceOperation, CapabilityStatementRestResourceSearchParam,
    CapabilityStatementRestSecurity, CapabilityStatementSoftware,
};
use fhir_sdk::r4b::types::{CodeableConcept, Coding, Extension, ExtensionValue};

/// The extension by which older clients find the token endpoint; without it they take the server for open.
const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";

const EVERYTHING: &str = "http://hl7.org/fhir/OperationDefinition/Patient-everything";

/// `metadata`. Errors only where a served type is none of R4.
pub fn statement(served: &[Served], settings: &Settings) -> Result<Bytes, String> {
    let wrong = |error: fhir_sdk::BuilderError| format!("the CapabilityStatement cannot be made: {error}");
    let resources = served.iter().map(|row| resource(row, served).map(Some)).collect::<Result<Vec<_>, _>>()?;
    let smart = Coding::builder()
        .system("http://terminology.hl7.org/CodeSystem/restful-security-service".into())
        .code("SMART-on-FHIR".into())
        .build()
        .map_err(wrong)?;
    let service = CodeableConcept::builder().coding(vec![Some(smart)]).text("OAuth2 with SMART scopes".into()).build().map_err(wrong)?;
    let mut security = CapabilityStatementRestSecurity::builder().service(vec![Some(service)]);
    let uris: Vec<Extension> = [("token", &settings.token_endpoint), ("authorize", &settings.authorization_endpoint)]
        .into_iter()
        .filter_map(|(name, uri)| Some((name, uri.clone()?)))
        .map(|(name, uri)| Extension::builder().url(name.into()).value(ExtensionValue::Uri(uri)).build())
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    if !uris.is_empty() {
        security = security.extension(vec![Extension::builder().url(OAUTH_URIS.into()).extension(uris).build().map_err(wrong)?]);
    }
    let rest = CapabilityStatementRest::builder()
        .mode(codes::RestfulCapabilityMode::Server)
        .security(security.build().map_err(wrong)?)
        .resource(resources)
        .build()
        .map_err(wrong)?;
    let software = CapabilityStatementSoftware::builder().name("Landbridge".into()).version(env!("CARGO_PKG_VERSION").into());
    let implementation = CapabilityStatementImplementation::builder()
        .description("Landbridge: FHIR R4 over legacy feeds, read only".into())
        .url(settings.base_url.clone());
    let statement = CapabilityStatement::builder()
        .status(codes::PublicationStatus::Active)
        .date(DATE_OF_CAPABILITIES.parse().map_err(|_| "its date is no date".to_owned())?)
        .kind(codes::CapabilityStatementKind::Instance)
        .software(software.build().map_err(wrong)?)
        .implementation(implementation.build().map_err(wrong)?)
        // The typed model is R4B's, which the statement is not about: 4.0.1 is what is served.
        .fhir_version(codes::FHIRVersion::N401)
        .format(vec![Some("application/fhir+json".into()), Some("json".into())])
        .rest(vec![Some(rest)])
        .build()
        .map_err(wrong)?;
    Ok(typed::to_bytes(statement).map_err(|_| "the CapabilityStatement cannot be written".to_owned())?.into())
}

fn resource(row: &Served, served: &[Served]) -> Result<CapabilityStatementRestResource, String> {
    let wrong = |error: fhir_sdk::BuilderError| format!("served.csv {}: {error}", row.kind);
    let flags = [
        (row.read, "read"),
        (row.vread, "vread"),
        (row.history, "history-instance"),
        (row.type_history, "history-type"),
        (row.search, "search-type"),
    ];
    let interactions = flags
        .into_iter()
        .filter(|(served, _)| *served)
        .map(|(_, code)| CapabilityStatementRestResourceInteraction::builder().code(code.into()).build().map(Some))
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    let parameters = row
        .parameters
        .iter()
        .map(|(code, parameter)| {
            let kind = match parameter.kind {
                ParameterType::Token => codes::SearchParamType::Token,
                ParameterType::String => codes::SearchParamType::String,
                ParameterType::Date => codes::SearchParamType::Date,
                ParameterType::Reference => codes::SearchParamType::Reference,
            };
            CapabilityStatementRestResourceSearchParam::builder().name(code.clone()).r#type(kind).build().map(Some)
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    let references = |row: &Served| {
        let references =
            row.parameters.iter().filter(|(_, parameter)| parameter.kind == ParameterType::Reference && row.kind != "AuditEvent");
        references.map(|(code, parameter)| (format!("{}:{code}", row.kind), parameter.targets.clone())).collect::<Vec<_>>()
    };
    let includes = references(row).into_iter().map(|(name, _)| Some(name)).collect();
    let pointing =
        served.iter().flat_map(references).filter(|(_, targets)| row.kind != "AuditEvent" && row.search && targets.contains(&row.kind));
    let operations = match row.everything {
        true => vec![Some(operation("everything", EVERYTHING).map_err(wrong)?)],
        false => Vec::new(),
    };
    let versioning = if row.vread { codes::ResourceVersionPolicy::Versioned } else { codes::ResourceVersionPolicy::NoVersion };
    CapabilityStatementRestResource::builder()
        .r#type(row.kind.parse().map_err(|_| format!("served.csv {}: not a resource type", row.kind))?)
        .interaction(interactions)
        .versioning(versioning)
        .read_history(row.history)
        .conditional_read(codes::ConditionalReadStatus::FullSupport)
        .search_include(includes)
        .search_rev_include(pointing.map(|(name, _)| Some(name)).collect())
        .search_param(parameters)
        .operation(operations)
        .build()
        .map_err(wrong)
}

fn operation(name: &str, definition: &str) -> Result<CapabilityStatementRestResourceOperation, fhir_sdk::BuilderError> {
    CapabilityStatementRestResourceOperation::builder().name(name.into()).definition(definition.into()).build()
}

/// `.well-known/smart-configuration` (SMART App Launch 2.2, *Conformance*): what this server itself keeps, and where
/// the configured issuer is. `None` without a token endpoint, which it must name.
pub fn smart(served: &[Served], settings: &Settings) -> Option<Bytes> {
    let words = |words: &[&str]| Json::Array(words.iter().map(|word| Json::from(*word)).collect());
    let mut members = vec![("token_endpoint", Json::from(settings.token_endpoint.clone()?))];
    let mut grants = vec!["client_credentials"];
    if let Some(endpoint) = &settings.authorization_endpoint {
        members.push(("authorization_endpoint", Json::from(endpoint.clone())));
        grants.insert(0, "authorization_code");
    }
    let letters = |row: &Served| if row.search { "rs" } else { "r" };
    let scopes = served.iter().flat_map(|row| {
        let contexts: &[&str] = if row.kind == "AuditEvent" { &["system", "user"] } else { &["system", "user", "patient"] };
        contexts.iter().map(|context| Json::from(format!("{context}/{}.{}", row.kind, letters(row))))
    });
    members.extend([
        ("grant_types_supported", words(&grants)),
        ("scopes_supported", Json::Array(scopes.collect())),
        ("code_challenge_methods_supported", words(&["S256"])),
        ("capabilities", words(&["permission-v1", "permission-v2", "permission-patient", "permission-user"])),
    ]);
    Some(members.into_iter().collect::<Json>().to_bytes().into())
}
