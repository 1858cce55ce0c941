//! The exit code of each error, mostly as in `sysexits.h`.

use super::{Error, limits};

impl Error {
    /// Returns the HTTP status, if the API's answer is the error.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Self::Api(answer) => Some(answer.status()),
            _ => None,
        }
    }

    /// Returns whether rows are missing or repeated, or the list changed during the export.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Incomplete { .. } | Self::ListChanged { .. })
    }

    /// Returns the process exit code, mostly as in `sysexits.h`.
    ///
    /// 1 is not an error: the command `diff` ends with it if it found differences, and `snapshots --check` if a job
    /// is stale, failed or damaged, or lost all rows.
    ///
    /// | code | meaning |
    /// |---|---|
    /// | 0 | the reader of standard output closed it |
    /// | 2 | wrong usage, or the API refused a value with 400; nothing recorded to verify against |
    /// | 65 | the data is wrong or damaged |
    /// | 66 | no such dataset, or a filter excludes it; no snapshot yet; no plan for many workers yet |
    /// | 69 | the API stayed unavailable, or its certificate is not trusted |
    /// | 70 | a bug in this program |
    /// | 73 | the output exists or cannot be created |
    /// | 74 | reading or writing failed, or a limit of the machine was reached |
    /// | 75 | another run holds the lock, or took it; the plan for many workers has ended, or a commit publishes it |
    /// | 77 | no key, or the API refused it |
    /// | 78 | wrong configuration |
    /// | 130, 143 | interrupted |
    pub fn exit_code(&self) -> u8 {
        if limits::hint(self).is_some() {
            return 74;
        }
        match self {
            Self::Invalid { .. }
            | Self::Expression { .. }
            | Self::Usage(_)
            | Self::Unchecked { .. } => 2,
            Self::Configuration(_)
            | Self::NoConfiguration { .. }
            | Self::BaseUrl { .. }
            | Self::Proxy { .. }
            | Self::NoRoots
            | Self::ApiKey { .. }
            | Self::ConfigurationFile { .. }
            | Self::PlainHttp { .. }
            | Self::PlainHttpStore { .. } => 78,
            Self::NoKey => 77,
            Self::NoDataset { .. } | Self::NoSnapshot { .. } | Self::NoPlan { .. } => 66,
            Self::Jobs { exit_code, .. } => *exit_code,
            Self::Api(error) => error.exit_code(),
            Self::Unavailable { .. } | Self::Certificate { .. } | Self::LongPause { .. } => 69,
            Self::Page { .. }
            | Self::Row { .. }
            | Self::UnmatchedPath { .. }
            | Self::UnmatchedNode { .. }
            | Self::Misfit { .. }
            | Self::Nesting(_)
            | Self::Incomplete { .. }
            | Self::ListChanged { .. }
            | Self::OutOfOrder(_)
            | Self::Damaged { .. }
            | Self::Column(_)
            | Self::ChangedCells { .. }
            | Self::PartChanged { .. }
            | Self::ValueTooLarge { .. }
            | Self::MissingRanges { .. }
            | Self::PlanDamaged { .. }
            | Self::Unverified { .. } => 65,
            Self::Output { .. } => 73,
            Self::Io { .. }
            | Self::Stdout { .. }
            | Self::Store { .. }
            | Self::Unpublished { .. }
            | Self::NotDurable { .. }
            | Self::Sink { .. }
            | Self::Unread { .. } => 74,
            Self::Locked { .. }
            | Self::LockLost { .. }
            | Self::PlanEnded { .. }
            | Self::CommitBegun { .. }
            | Self::Replaced { .. } => 75,
            Self::Interrupted { number, .. } => number.saturating_add(128),
            Self::OutputClosed => 0,
            Self::Encode { .. } | Self::Internal(_) => 70,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_number_maps_to_exit_code() {
        let code = |number| Error::Interrupted { signal: "X", number, hint: None }.exit_code();
        assert_eq!([2, 15, 127, 200, 255].map(code), [130, 143, 255, 255, 255]);
    }
}
