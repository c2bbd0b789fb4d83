//! Who asks (Principal), and what they may see (Grant). Only this room can make a Grant.

mod jwks;
mod scope;
#[cfg(test)]
pub(crate) mod testing;
mod verifier;

pub(crate) use verifier::is_id;
pub use verifier::{Believed, Issuer, TokenError, Verifier};

use std::fmt;

/// Who asks, as the token and the connection proved it.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `client_id` or `azp`: the app.
    pub client: String,
    /// `jti`, for the audit; empty if the token has none.
    pub token_id: String,
    /// `fhirUser`, where given.
    pub user: Option<String>,
    /// The token is the app's with its certificate alone (RFC 8705).
    pub bound: bool,
}

/// Shows issuer and app alone.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({} {})", self.issuer, self.client)
    }
}

/// What a principal may see of one resource type, as a predicate that stands in *every* sub-query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// No row.
    Nothing,
    /// Every row of the type.
    All,
    /// Rows in the compartment of this Patient id alone; merge edges are not crossed.
    Patient(String),
}

/// What an interaction does with a resource, in SMART's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Read,
    Search,
}

/// What a principal may see. Deny by default: an empty Grant sees nothing.
pub struct Grant {
    principal: Principal,
    scopes: Vec<Scope>,
}

/// One understood scope; each keeps its own bound and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Resource type, or `*`.
    pub kind: String,
    pub read: bool,
    pub search: bool,
    /// `Some(id)` for `patient/` scopes, `None` for `system/` and `user/`.
    pub patient: Option<String>,
}

impl Grant {
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether it reaches every type of every patient.
    pub fn is_wide(&self) -> bool {
        self.scopes.iter().any(|scope| scope.kind == "*" && scope.patient.is_none())
    }

    /// The predicate over rows of `kind`. Where several scopes cover the type the widest counts. The audit is in no
    /// patient's hands: `patient/` scopes do not reach it.
    pub fn predicate(&self, kind: &str, permission: Permission) -> Predicate {
        let covering = |scope: &&Scope| {
            (scope.kind == "*" || scope.kind == kind)
                && (kind != "AuditEvent" || scope.patient.is_none())
                && match permission {
                    Permission::Read => scope.read,
                    Permission::Search => scope.search,
                }
        };
        let mut found = Predicate::Nothing;
        for scope in self.scopes.iter().filter(covering) {
            match &scope.patient {
                None => return Predicate::All,
                Some(id) => found = Predicate::Patient(id.clone()),
            }
        }
        found
    }

    /// For tests of what stands behind `authorize`.
    #[cfg(test)]
    pub(crate) fn for_tests(scopes: Vec<Scope>) -> Self {
        let principal = Principal {
            issuer: "test".into(),
            subject: "test".into(),
            client: "test".into(),
            token_id: String::new(),
            user: None,
            bound: false,
        };
        Self { principal, scopes }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({:?} {} scopes)", self.principal, self.scopes.len())
    }
}
