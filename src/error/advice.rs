//! The exit code of each error, and the hint: what to do next.

use std::{borrow::Cow, io, path::Path};

use super::{Error, limits};

impl Error {
    /// The process exit code, after `sysexits.h`. 0 and 1 are no errors: [`diff`](crate::diff()) found
    /// none and some differences.
    ///
    /// | code | meaning |
    /// |---|---|
    /// | 2 | usage, also a value that the API refuses with 400 |
    /// | 65 | the data is not what it should be |
    /// | 66 | no such dataset, or a filter excludes it |
    /// | 69 | the API stayed unavailable |
    /// | 70 | a bug of ours |
    /// | 73 | the output exists or cannot be made |
    /// | 74 | reading or writing failed, limits of the machine included |
    /// | 75 | another run holds the lock, or took it |
    /// | 77 | no key, or it was refused |
    /// | 78 | configuration |
    /// | 130, 143 | interrupted |
    pub fn exit_code(&self) -> u8 {
        if limits::hint(self).is_some() {
            return 74;
        }
        match self {
            Self::Invalid { .. } | Self::Usage(_) | Self::Unchecked { .. } => 2,
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
            Self::NoDataset { .. } => 66,
            Self::Jobs { exit_code, .. } => *exit_code,
            Self::Api(error) => error.exit_code(),
            Self::Unavailable { .. } | Self::Certificate { .. } | Self::ComeBackLater { .. } => 69,
            Self::Page { .. }
            | Self::Incomplete { .. }
            | Self::OutOfOrder(_)
            | Self::Damaged { .. }
            | Self::PartChanged { .. }
            | Self::ValueTooLarge { .. }
            | Self::Unverified { .. } => 65,
            Self::Output { .. } => 73,
            Self::Io { .. }
            | Self::Store { .. }
            | Self::Unpublished { .. }
            | Self::NotDurable { .. } => 74,
            Self::Locked { .. } | Self::LockLost { .. } | Self::Overtaken { .. } => 75,
            Self::Interrupted { number, .. } => number.saturating_add(128),
            Self::OutputClosed => 0,
            Self::Encode { .. } | Self::Internal(_) => 70,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        if let Some(hint) = limits::hint(self) {
            return Some(Cow::Borrowed(hint));
        }
        let hint = match self {
            Self::NoKey => {
                "set OVERMIND_LAB_API_KEY (or OVERMIND_API_KEY), or give --api-key-file; \
                 `overmind-export demo` needs no key"
            }
            Self::NoConfiguration { .. } => {
                "give one with --config; config/snapshots.toml in the sources is an example to copy"
            }
            Self::NoDataset { .. } => {
                "`overmind-export datasets` takes the same filters and lists what the key can see"
            }
            Self::BaseUrl { .. } => {
                "it comes from --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL, and looks like \
                 https://api.overmindlab.ai"
            }
            Self::NoRoots => {
                "install them (the package is mostly called ca-certificates), point SSL_CERT_FILE to a \
                 PEM file of them, or give the server's authority with --ca-cert"
            }
            Self::Proxy { .. } => {
                "it looks like http://proxy.example.org:3128, with user:password@ before the host \
                 where the proxy asks for them; NO_PROXY lists the hosts to reach without it"
            }
            Self::ApiKey { origin: Some(origin), .. } => {
                return Some(format!("it comes from {origin}").into());
            }
            Self::PlainHttp { .. } => {
                "use https, or give --allow-http if the network between here and there is trusted"
            }
            Self::PlainHttpStore { .. } => {
                "use https, or give --storage-option allow_http=true if the network between here and \
                 there is trusted"
            }
            Self::Unpublished { hint, .. } => return Some(Cow::Owned(hint.clone())),
            Self::NotDurable { .. } => {
                "the output is complete, but a power failure may undo it: check the disk, then run sync"
            }
            Self::PartChanged { .. } => {
                "nothing was published: find out which program changes staged files, then run the same \
                 command again; parts that are whole are kept"
            }
            Self::Api(error) => return error.hint(),
            Self::Unavailable { .. } => {
                "check the base URL and the network; a larger --timeout, --retry-for or \
                 --max-retries gives the API more time"
            }
            Self::Certificate { .. } => {
                "check the base URL; if the server uses a private authority, give its certificate \
                 with --ca-cert"
            }
            Self::ComeBackLater { .. } => {
                "run again then, or raise --retry-for above the time that the API asks for"
            }
            Self::Page { source, .. } => return source.hint().map(Cow::Borrowed),
            Self::Incomplete { delivered: true, .. } => {
                "the rows that were delivered are not the whole dataset; export again when the dataset \
                 stands still, or give --ordering id if the API's default order is not stable"
            }
            Self::Incomplete { delivered: false, .. } => {
                "nothing was published; export again when the dataset stands still, or give \
                 --ordering id if the API's default order is not stable"
            }
            Self::OutOfOrder(_) => {
                "an ordering that this route does not know is ignored: leave --ordering out, or ask \
                 for one that it knows"
            }
            Self::Output { hint, .. }
            | Self::Store { hint, .. }
            | Self::Interrupted { hint, .. } => {
                return hint.map(Cow::Borrowed);
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::StorageFull => {
                if let Self::Io { action: "keep ids in", .. } = self {
                    "make room there, or give another folder with --temp-dir; nothing was published"
                } else if path == Path::new("standard output") {
                    "make room where standard output goes, and run again: what is there is not whole"
                } else {
                    "make room, or write somewhere else; nothing was published"
                }
            }
            // The place of ids alone has an option of its own.
            Self::Io { action: "keep ids in", .. } => {
                "give a folder that this user may write with --temp-dir"
            }
            Self::ValueTooLarge { .. } => {
                "--max-value-bytes raises the bound, up to 256MiB: only for a file whose writer you trust"
            }
            Self::Unchecked { .. } => "each line above says why, and what to do next",
            Self::Unverified { .. } => "what is named above is wrong: export again",
            Self::Locked { .. } => "wait for the other run to end, or write somewhere else",
            Self::LockLost { .. } => {
                "nothing was published: run the same command again when no other run is at work"
            }
            Self::Overtaken { hint, .. } => hint,
            Self::Internal(_) | Self::Encode { .. } => {
                "this is a bug: please report it with the command and this text"
            }
            _ => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_of_any_number_is_an_exit_code() {
        let code = |number| Error::Interrupted { signal: "X", number, hint: None }.exit_code();
        assert_eq!([2, 15, 127, 200, 255].map(code), [130, 143, 255, 255, 255]);
    }
}
