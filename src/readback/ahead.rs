//! How far threads read ahead of the caller.

use crate::tasks::cores;

/// How far threads read ahead of the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadAhead {
    pub(crate) threads: usize,
    /// Results that wait for the caller, in bytes; default 32 MiB, three row groups of common rows. A result that the
    /// caller waits for is exempt.
    pub(crate) bytes: usize,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self { threads: cores(), bytes: 32 << 20 }
    }
}
