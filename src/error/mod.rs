//! What can go wrong, one layer a variant, with the hint and the exit code that go with it.
//!
//! An error says what was seen; its `source()` says what caused it and is never repeated in its own
//! text. Nothing here prints, and nothing here ever holds a key: URLs are stored without credentials.

pub(crate) mod limits;
pub(crate) mod panics;

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt, io, iter,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    client::{ApiError, PageError},
    text::{self, plural},
};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A boxed cause.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// Everything that can end an export.
///
/// `Display` gives one layer; walk [`source`](StdError::source) for the causes, or use
/// [`Error::report`] for the whole text that the command prints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that was asked for makes no sense; found before any request.
    #[error("{value:?} is not a valid {what}: {why}")]
    Invalid {
        /// What the value was for, in the words of the command line.
        what: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Options that contradict each other; found before any request.
    #[error("{0}")]
    Usage(String),
    /// The environment or a file that configures the client is wrong.
    #[error("{0}")]
    Configuration(String),
    /// What was asked for needs a configuration file, and there is none.
    #[error("no configuration file: {why}")]
    NoConfiguration {
        /// Where it was looked for.
        why: String,
    },
    /// The base URL is none that can be used.
    #[error("the base URL {url:?} cannot be used: {why}")]
    BaseUrl {
        /// As it was given, but without credentials, query and fragment.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that configures the client cannot be used.
    #[error("cannot use {what} {}", path.display())]
    ConfigurationFile {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// There is no certificate of an authority to verify a server by.
    #[error("the system has no certificates of authorities")]
    NoRoots,
    /// The base URL is plain http to another machine.
    #[error("{url} is plain http: the API key would cross the network unencrypted")]
    PlainHttp {
        /// The base URL, without credentials.
        url: String,
    },
    /// An object store is reached over plain http on another machine.
    #[error("{url} is plain http: the data would cross the network unencrypted")]
    PlainHttpStore {
        /// The store's endpoint.
        url: String,
    },
    /// A proxy cannot be used, or asks for credentials that it was not given.
    #[error("the proxy of {name} cannot be used: {why}")]
    Proxy {
        /// The variable or option that names it. The value is not kept: it can hold a password.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// An API key that is none.
    #[error("the API key cannot be used: {why}")]
    ApiKey {
        /// What is wrong with it; never the key.
        why: String,
        /// Where it comes from, if that is known.
        origin: Option<String>,
    },
    /// No API key was given anywhere.
    #[error("no API key")]
    NoKey,
    /// No dataset meets the filters of a job.
    #[error("no dataset meets {filters}")]
    NoDataset {
        /// The filters, as a query string.
        filters: String,
    },
    /// Jobs failed; each has been told by itself.
    #[error("{failed} of {of} {} failed", plural(*of, "job"))]
    Jobs {
        /// How many.
        failed: u64,
        /// Of how many.
        of: u64,
        /// The exit code of the first of them in the order of the file.
        exit_code: u8,
    },
    /// The API answered, and the answer is final.
    #[error(transparent)]
    Api(#[from] Box<ApiError>),
    /// The API gave no usable answer for as long as retrying was allowed.
    #[error(
        "the API at {origin} stayed unavailable: {attempts} {} in {}",
        plural(*attempts, "attempt"),
        human(*elapsed)
    )]
    Unavailable {
        /// Scheme, host and port.
        origin: String,
        /// Requests sent for the page that gave up.
        attempts: u64,
        /// From its first attempt to its last.
        elapsed: Duration,
        /// What the last attempt saw.
        #[source]
        source: Cause,
    },
    /// The server's certificate could not be verified; never retried.
    #[error("the certificate of {origin} does not verify")]
    Certificate {
        /// Scheme, host and port.
        origin: String,
        /// What the verifier said.
        #[source]
        source: Cause,
    },
    /// The API asked to wait for longer than retrying is allowed.
    #[error("the API at {origin} asks to come back in {}", human(*wait))]
    ComeBackLater {
        /// Scheme, host and port.
        origin: String,
        /// The `Retry-After` that it sent.
        wait: Duration,
    },
    /// An answer that should be a page is none.
    #[error("page {page} is not what it should be")]
    Page {
        /// Its number, from 1.
        page: u64,
        /// What it is instead.
        #[source]
        source: PageError,
    },
    /// The rows that came are not the whole dataset, each once.
    #[error("the data moved while it was read: {seen}")]
    Incomplete {
        /// What was seen.
        seen: String,
        /// Whether rows have left already, through a stream or standard output; files have not.
        delivered: bool,
    },
    /// The rows do not come in the order that was asked for.
    #[error("the API does not apply the ordering: {0}")]
    OutOfOrder(String),
    /// A file of an export is not what it should be.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file that is read back holds more at one place than may be held in memory.
    #[error("{}: {what}, and the bound is {limit}", path.display())]
    ValueTooLarge {
        /// The file.
        path: PathBuf,
        /// What is too large, and its size.
        what: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// What was to be verified has nothing that it could be held against.
    #[error("{unchecked} of {of} {} could not be checked", plural(*of, "path"))]
    Unchecked {
        /// How many.
        unchecked: u64,
        /// Of how many.
        of: u64,
    },
    /// Exports are not what they were when they were written.
    #[error("{damaged} of {of} {} damaged", if *of == 1 { "export is" } else { "exports are" })]
    Unverified {
        /// How many.
        damaged: u64,
        /// Of how many.
        of: u64,
    },
    /// The output exists already, or cannot be made.
    #[error("{}: {why}", path.display())]
    Output {
        /// The output, as given.
        path: PathBuf,
        /// Why it cannot be made.
        why: String,
        /// What to do about it.
        hint: Option<&'static str>,
        /// What the system said.
        #[source]
        source: Option<Cause>,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: "write", "rename", …
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Everything was exported, and could not be given the output's name.
    #[error("cannot publish {}", path.display())]
    Unpublished {
        /// The output, as given, or its manifest.
        path: PathBuf,
        /// Where the finished bytes are, and how to finish by hand.
        hint: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A finished part is no longer what was written: another program changed it while the run was at work.
    #[error("{} {why}", path.display())]
    PartChanged {
        /// The staged file or object.
        path: PathBuf,
        /// What it is instead, in words that go after its name.
        why: String,
    },
    /// An object store refused something, or could not be reached.
    #[error("cannot {action} {url}")]
    Store {
        /// What was being done: "read", "write", "list", …
        action: &'static str,
        /// The object or prefix, as given.
        url: String,
        /// What to do about it.
        hint: Option<&'static str>,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// A format's encoder failed.
    #[error("cannot encode {format}")]
    Encode {
        /// The format.
        format: &'static str,
        /// What the encoder said.
        #[source]
        source: Cause,
    },
    /// Another run is writing the same output.
    #[error("another run is writing {}", path.display())]
    Locked {
        /// The output, as given.
        path: PathBuf,
    },
    /// The lock on the output was lost while the run was at work; nothing was published.
    #[error("{}: the lock was lost: {why}", path.display())]
    LockLost {
        /// The output, as given.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// The run was told to stop.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// The signal's name.
        signal: &'static str,
        /// Its number.
        number: u8,
        /// What the next run will do with what is there.
        hint: Option<&'static str>,
    },
    /// Whoever reads standard output has closed it: an end, not a failure.
    #[error("standard output was closed")]
    OutputClosed,
    /// A bug in this crate.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn invalid(
        what: &'static str,
        value: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::Invalid { what, value: value.into(), why: why.into() }
    }

    /// The same, with a better name for where the key comes from.
    pub(crate) fn with_key_origin(mut self, better: Option<&str>) -> Self {
        if let (Self::ApiKey { origin, .. }, Some(better)) = (&mut self, better) {
            *origin = Some(better.to_owned());
        }
        self
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

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
            Self::Io { .. } | Self::Store { .. } | Self::Unpublished { .. } => 74,
            Self::Locked { .. } | Self::LockLost { .. } => 75,
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
            Self::Internal(_) | Self::Encode { .. } => {
                "this is a bug: please report it with the command and this text"
            }
            _ => return None,
        };
        Some(Cow::Borrowed(hint))
    }

    /// The error and its causes on one line, without the hint: for a log or a list.
    ///
    /// ```
    /// assert_eq!(overmind_export::Error::NoKey.one_line(), "no API key");
    /// ```
    pub fn one_line(&self) -> String {
        let texts = iter::once(self.to_string()).chain(causes(self));
        harmless(&texts.collect::<Vec<_>>().join(": "))
    }

    /// The whole text that the command prints: the error, its causes, the hint.
    ///
    /// ```
    /// let error = overmind_export::Error::NoKey;
    /// assert!(error.report().to_string().starts_with("error: no API key\n  hint: set OVERMIND_LAB"));
    /// ```
    pub fn report(&self) -> Report<'_> {
        Report(self)
    }
}

/// [`Error::report`]: `error:`, one line for each cause, and the hint.
#[derive(Debug)]
pub struct Report<'a>(&'a Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", harmless(&self.0.to_string()))?;
        for cause in causes(self.0) {
            writeln!(f, "  cause: {}", harmless(&cause))?;
        }
        if let Some(hint) = self.0.hint() {
            writeln!(f, "  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Part of it comes from the other end of a wire: no more than a screen of it, on one line, and
/// nothing that a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    const LENGTH: usize = 2000;
    let mut shown = text::harmless(text, LENGTH);
    if text.chars().nth(LENGTH).is_some() {
        shown.push('…');
    }
    shown
}

/// The texts of the causes, outermost first, without those that only repeat the one before.
pub(crate) fn causes(error: &dyn StdError) -> Vec<String> {
    let mut texts = Vec::new();
    let mut before = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !text.is_empty() && !before.contains(&text) {
            texts.push(text.clone());
            before = text;
        }
        next = cause.source();
    }
    texts
}

/// A duration as people say it: `0.4 s`, `12 s`, `2 min 5 s`, `3 h 0 min`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_the_error_already_says_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner;
        assert_eq!(causes(&Outer(Inner)), Vec::<String>::new());
    }

    #[test]
    fn what_a_server_said_cannot_steer_the_terminal_or_flood_it() {
        let text = Error::Usage(format!("\u{1b}[2J\n{}", "x".repeat(9999))).report().to_string();
        assert!(text.starts_with("error: \u{fffd}[2J xxx") && text.ends_with("x…\n"), "{text}");
        assert_eq!(text.chars().count(), "error: ".len() + 2000 + "…\n".chars().count());
    }

    #[test]
    fn a_signal_of_any_number_is_an_exit_code() {
        let code = |number| Error::Interrupted { signal: "X", number, hint: None }.exit_code();
        assert_eq!([2, 15, 127, 200, 255].map(code), [130, 143, 255, 255, 255]);
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let texts = [400, 12_000, 125_000, 10_800_000].map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(texts, ["0.4 s", "12 s", "2 min 5 s", "3 h 0 min"]);
    }
}
