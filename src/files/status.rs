//! The status of a file: kind, identity, size, owner and permissions.

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Device,
}

impl FileKind {
    /// The kind with its article, for messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::Device => "a device",
        }
    }
}

/// The identity of a file, independent of its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// The status of a file, from the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStatus {
    pub(crate) kind: FileKind,
    pub(crate) identity: Identity,
    /// Size in bytes.
    pub(crate) size: u64,
    /// The time of the last write: seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, i64),
    /// User id of the owner.
    pub(crate) owner: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Number of hard links.
    pub(super) links: u64,
}

impl FileStatus {
    /// Whether a regular file has more than one hard link. Writing to it would change the file under its other
    /// names, too.
    pub(crate) fn has_other_names(&self) -> bool {
        self.kind == FileKind::File && self.links > 1
    }
}
