//! The exit code of each error, and its hint: the next step for the user.

use std::{borrow::Cow, io, path::Path};

use super::{Error, limits};

impl Error {
    /// Returns the process exit code, mostly as in `sysexits.h`.
    ///
    /// 0 and 1 are not errors. [`diff`](crate::diff()) ends with 0 if it found no difference, and with 1
    /// if it found some.
    ///
    /// | code | meaning |
    /// |---|---|
    /// | 2 | wrong usage, or the API refused a value with 400 |
    /// | 65 | the data is wrong or damaged |
    /// | 66 | no such dataset, or a filter excludes it |
    /// | 69 | the API stayed unavailable |
    /// | 70 | a bug in this program |
    /// | 73 | the output exists or cannot be created |
    /// | 74 | reading or writing failed, or a limit of the machine was reached |
    /// | 75 | another run holds the lock, or took it |
    /// | 77 | no key, or the API refused it |
    /// | 78 | wrong configuration |
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
            | Self::NotDurable { .. }
            | Self::Sink { .. }
            | Self::Unread { .. } => 74,
            Self::Locked { .. } | Self::LockLost { .. } | Self::Overtaken { .. } => 75,
            Self::Interrupted { number, .. } => number.saturating_add(128),
            Self::OutputClosed => 0,
            Self::Encode { .. } | Self::Internal(_) => 70,
        }
    }

    /// Returns the next step for the user, if there is one.
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
                "`overmind-export datasets` takes the same filters and lists the datasets that the key can see"
            }
            Self::BaseUrl { .. } => {
                "set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is \
                 https://api.overmindlab.ai"
            }
            Self::NoRoots => {
                "install the package ca-certificates (its usual name), set SSL_CERT_FILE to a PEM file \
                 of CA certificates, or give the server's CA certificate with --ca-cert"
            }
            Self::Proxy { .. } => {
                "give it as http://proxy.example.org:3128, with user:password@ before the host if the \
                 proxy asks for them; list in NO_PROXY the hosts to reach without the proxy"
            }
            Self::ApiKey { origin: Some(origin), .. } => {
                return Some(format!("it comes from {origin}").into());
            }
            Self::PlainHttp { .. } => {
                "use https, or give --allow-http if you trust the network in between"
            }
            Self::PlainHttpStore { .. } => {
                "use https, or give --storage-option allow_http=true if you trust the network in between"
            }
            Self::Unpublished { hint, .. } => return Some(Cow::Owned(hint.clone())),
            Self::NotDurable { .. } => {
                "the output is complete, but a power failure may undo it: check the disk, then run sync"
            }
            Self::PartChanged { .. } => {
                "nothing was published: find the program that changes staged files and stop it, then \
                 run the same command again; intact parts are kept"
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
                "run again after that pause, or set --retry-for to a longer time"
            }
            Self::Page { source, .. } => return source.hint().map(Cow::Borrowed),
            Self::Incomplete { delivered: true, .. } => {
                "the delivered rows are not the whole dataset; export again when the dataset no longer \
                 changes, or give --ordering id if the API's default order is not stable"
            }
            Self::Incomplete { delivered: false, .. } => {
                "nothing was published; export again when the dataset no longer changes, or give \
                 --ordering id if the API's default order is not stable"
            }
            Self::OutOfOrder(_) => {
                "the API ignores an ordering that it does not support: leave out --ordering, or give \
                 a supported one"
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
                    "make room where standard output goes, and run again: the output is incomplete"
                } else {
                    "make room, or write somewhere else; nothing was published"
                }
            }
            // Only the folder for ids has its own option.
            Self::Io { action: "keep ids in", .. } => {
                "give a folder that this user can write to with --temp-dir"
            }
            Self::ValueTooLarge { .. } => {
                "if you trust the writer of the file, raise the limit with --max-value-bytes, up to 256MiB"
            }
            Self::Unchecked { .. } | Self::Unread { .. } => {
                "each line above gives the reason and the next step"
            }
            Self::Unverified { .. } => "the lines above name the damage: export again",
            Self::Locked { .. } => "wait for the other run to end, or write somewhere else",
            Self::LockLost { .. } => {
                "nothing was published: run the same command again when no other run is active"
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
    fn signal_number_maps_to_exit_code() {
        let code = |number| Error::Interrupted { signal: "X", number, hint: None }.exit_code();
        assert_eq!([2, 15, 127, 200, 255].map(code), [130, 143, 255, 255, 255]);
    }
}
