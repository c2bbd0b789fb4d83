//! What the store's folder lies on. SQLite's log is shared memory between connections, which a network file system does not
//! give: there it is silently corrupted (sqlite.org/wal.html).

use crate::os::file_system;
use crate::store::StoreError;
use std::path::Path;

/// File systems over a network, by the number that Linux gives them (`statfs(2)`).
const OVER_A_NETWORK: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x5346_414f, "AFS"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x7461_636f, "OCFS2"),
];

/// Refuses a folder that SQLite cannot keep whole.
pub(crate) fn refuse_network(directory: &Path) -> Result<(), StoreError> {
    if cfg!(not(unix)) {
        let reason = "no store is kept on Windows, where it cannot be told whether a folder lies on a network and is its owner's alone: \
                      run the gateway on Linux, and beside a sender `landbridge edge`, which keeps none";
        return Err(StoreError::Refused(reason.into()));
    }
    match file_system(directory).and_then(over_a_network) {
        Some(name) => Err(StoreError::Refused(format!(
            "{} lies on a network file system ({name}), where SQLite loses data: use a local disk or a block volume",
            directory.display()
        ))),
        None => Ok(()),
    }
}

fn over_a_network(number: u64) -> Option<&'static str> {
    OVER_A_NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(over_a_network(0x6969), Some("NFS"));
        // ext4 and tmpfs.
        assert_eq!((over_a_network(0xef53), over_a_network(0x0102_1994)), (None, None));
        assert_eq!(refuse_network(tempfile::tempdir().unwrap().path()), Ok(()));
    }
}
