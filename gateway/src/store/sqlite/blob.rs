//! Blobs at rest: zstd with the length in front, and JSON of what the journal keeps.

use crate::store::StoreError;
use contract::{Contribution, Issue, IssueCode, Severity};
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// Fast: a writer waits for it. Blobs are small, and most of the time of a higher level goes into its tables.
const LEVEL: i32 = -3;
/// What a blob may unfold to: a frame's limit is set elsewhere, and lower.
const LENGTH_MAX: usize = 1 << 30;

thread_local! {
    // Making one costs more than using it.
    static PACKER: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(LEVEL).ok());
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
}

pub(super) fn pack(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = u32::try_from(bytes.len()).map_err(|_| too_large())?;
    let mut packed = vec![0; 4 + zstd::zstd_safe::compress_bound(bytes.len())];
    packed[..4].copy_from_slice(&length.to_le_bytes());
    let failed = || StoreError::Unavailable("zstd".into());
    let written = PACKER.with_borrow_mut(|packer| match packer {
        Some(packer) => packer.compress_to_buffer(bytes, &mut packed[4..]).map_err(|_| failed()),
        None => Err(failed()),
    })?;
    packed.truncate(4 + written);
    Ok(packed)
}

pub(super) fn unpack(blob: &[u8]) -> Result<Vec<u8>, StoreError> {
    let (length, packed) = blob.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LENGTH_MAX {
        return Err(corrupt());
    }
    UNPACKER.with_borrow_mut(|unpacker| match unpacker {
        Some(unpacker) => unpacker.decompress(packed, length).map_err(|_| corrupt()),
        None => Err(StoreError::Unavailable("zstd".into())),
    })
}

pub(super) fn contributions(contributions: &[Contribution]) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_vec(contributions).map_err(|_| StoreError::Refused("contributions cannot be written as JSON".into()))?;
    pack(&json)
}

pub(super) fn read_contributions(blob: &[u8]) -> Result<Vec<Contribution>, StoreError> {
    serde_json::from_slice(&unpack(blob)?).map_err(|_| corrupt())
}

/// `[severity, code, place, reason]` of each.
pub(super) fn issues(issues: &[Issue]) -> String {
    let rows: Vec<_> = issues.iter().map(|issue| (issue.severity.code(), issue.code.word(), &issue.place, &issue.reason)).collect();
    serde_json::to_string(&rows).expect("strings are written to memory")
}

pub(super) fn read_issues(text: &str) -> Result<Vec<Issue>, StoreError> {
    let rows: Vec<(String, String, String, String)> = serde_json::from_str(text).map_err(|_| corrupt())?;
    rows.into_iter()
        .map(|(severity, code, place, reason)| {
            let severity = SEVERITIES.into_iter().find(|known| known.code() == severity);
            let code = CODES.into_iter().find(|known| known.word() == code);
            Ok(Issue::new(severity.ok_or_else(corrupt)?, code.ok_or_else(corrupt)?, place, reason))
        })
        .collect()
}

pub(super) fn corrupt() -> StoreError {
    StoreError::Refused("a row of the store cannot be read: the file is damaged".into())
}

fn too_large() -> StoreError {
    StoreError::Refused("too large to be stored".into())
}

const SEVERITIES: [Severity; 3] = [Severity::Information, Severity::Warning, Severity::Error];
const CODES: [IssueCode; 13] = [
    IssueCode::Structure,
    IssueCode::Required,
    IssueCode::DataType,
    IssueCode::UnknownCode,
    IssueCode::NotMapped,
    IssueCode::Altered,
    IssueCode::NotSupported,
    IssueCode::Identity,
    IssueCode::Time,
    IssueCode::Characters,
    IssueCode::Limit,
    IssueCode::Forbidden,
    IssueCode::Internal,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        for bytes in [&b""[..], b"x", &[7; 100_000]] {
            assert_eq!(unpack(&pack(bytes).unwrap()).unwrap(), bytes);
        }
        assert!(unpack(b"abc").is_err() && unpack(&[255; 9]).is_err());
        let all: Vec<Issue> =
            CODES.iter().flat_map(|code| SEVERITIES.map(|severity| Issue::new(severity, *code, "PID[1]-3", "why \"so\""))).collect();
        assert_eq!(read_issues(&issues(&all)).unwrap(), all);
        assert!(read_issues(r#"[["error","nonsense","",""]]"#).is_err());
    }
}
