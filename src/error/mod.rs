//! What can go wrong, one layer a variant, with the hint and the exit code that go with it.
//!
//! An error says what was seen; its `source()` says what caused it and is never repeated in its own
//! text. Nothing here prints, and nothing here ever holds a key: URLs are stored without credentials.

mod advice;
mod api;
pub(crate) mod limits;
mod page;
pub(crate) mod panics;
mod report;

use std::{error::Error as StdError, io, path::PathBuf, time::Duration};

pub use self::{api::ApiError, page::PageError, report::Report};
pub(crate) use self::{
    api::{ApiAnswer, Resource},
    report::{causes, harmless, human},
};
use crate::text::plural;

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
    /// The output is there and complete, and the system did not say that it outlives a power failure.
    #[error("{} is published, but its folder could not be synced", path.display())]
    NotDurable {
        /// The output, as given.
        path: PathBuf,
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
    /// Another program wrote the output while the run was at work, and a part of it is of this run.
    #[error("{} {why}", path.display())]
    Overtaken {
        /// What was replaced.
        path: PathBuf,
        /// By what, in words that go after its name.
        why: String,
        /// What is there now, and what to do.
        hint: &'static str,
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
}
