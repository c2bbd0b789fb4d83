//! What operating systems do differently. Landbridge runs on Linux. For Windows it is kept compiling, for `edge` and the commands that need no
//! store: a store is refused there, so no law hangs on what stands under `elsewhere`.

#[cfg(not(unix))]
pub use elsewhere::{DirBuilderExt, OpenOptionsExt, device, file_system, may_write, user};
#[cfg(unix)]
pub use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
#[cfg(unix)]
pub use unix::{device, file_system, may_write, user};

#[cfg(unix)]
mod unix {
    use rustix::fs::{Access, access, statfs};
    use std::fs::metadata;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// Whether this user may write a file, or make files in a folder.
    pub fn may_write(path: &Path) -> bool {
        let asked = if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
        access(path, asked).is_ok()
    }

    /// The volume that a file lies on.
    pub fn device(path: &Path) -> Option<u64> {
        metadata(path).ok().map(|found| found.dev())
    }

    /// The kind of file system, by the number of `statfs(2)`.
    pub fn file_system(path: &Path) -> Option<u64> {
        // The type's width and sign differ between processors; the number has 32 bits.
        statfs(path).ok().map(|found| found.f_type as u64 & 0xffff_ffff)
    }

    /// The user of this process.
    pub fn user() -> Option<u32> {
        metadata("/proc/self").ok().map(|found| found.uid())
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{DirBuilder, OpenOptions, metadata};
    use std::path::Path;

    /// There are no modes: what is made has the permissions of the folder in which it is made.
    pub trait DirBuilderExt {
        fn mode(&mut self, _: u32) -> &mut Self {
            self
        }
    }

    impl DirBuilderExt for DirBuilder {}

    /// As [`DirBuilderExt`].
    pub trait OpenOptionsExt {
        fn mode(&mut self, _: u32) -> &mut Self {
            self
        }
    }

    impl OpenOptionsExt for OpenOptions {}

    /// What is not marked as read-only may still be refused when it is written.
    pub fn may_write(path: &Path) -> bool {
        metadata(path).is_ok_and(|found| !found.permissions().readonly())
    }

    pub fn device(_: &Path) -> Option<u64> {
        None
    }

    pub fn file_system(_: &Path) -> Option<u64> {
        None
    }

    pub fn user() -> Option<u32> {
        None
    }
}
