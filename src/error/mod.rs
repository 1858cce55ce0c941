//! The errors of this crate, with a hint and an exit code for each.
//!
//! The text of an error describes the problem, `source()` returns the cause, and neither repeats the other. This module
//! prints nothing and never holds a key: URLs are stored without credentials.

mod api;
mod column;
mod constructors;
mod exit_code;
mod hint;
pub(crate) mod limits;
mod missing_path;
mod nesting;
mod page;
pub(crate) mod panics;
mod phrases;
mod quotes;
mod report;

use std::{io, path::PathBuf, time::Duration};

use self::phrases::{listed, meant_output, meant_path, of_id, of_page, of_row, text_kind};
pub use self::{
    api::ApiError, column::ColumnError, constructors::Cause, nesting::NestingError,
    page::PageError, report::ErrorReport,
};
pub(crate) use self::{
    api::{ApiAnswer, Resource},
    report::{causes, excerpt, harmless, human},
};
use crate::text::{self, counted, grouped};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that ends an export or another command.
///
/// `Display` formats this error without its causes. Walk [`source`](std::error::Error::source) for the causes, or use
/// [`Error::report`] for the full text that the command prints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has an invalid value. Found before any request.
    #[error("{value:?} is not a valid {what}: {why}")]
    Invalid {
        /// Name of the option, in the words of the command line.
        what: &'static str,
        /// The value as given.
        value: String,
        /// The problem with the value.
        why: String,
    },
    /// Options contradict each other. Found before any request.
    #[error("{0}")]
    Usage(String),
    /// An expression is not valid. Found before any request.
    #[error(
        "`{option}` {} is not a valid {}: {why}",
        text::quoted(expression, 60),
        text_kind(option)
    )]
    Expression {
        /// Name of the option with the expression.
        option: &'static str,
        /// The expression as given.
        expression: String,
        /// Position of the wrong part in the expression, in bytes.
        position: usize,
        /// Length of the wrong part, in bytes.
        length: usize,
        /// The problem with the expression.
        why: String,
    },
    /// A transformation failed on a row.
    #[error("{}row {row}{}: `{option}` {} {why}", of_page(*page), of_id(*id), text::quoted(expression, 60))]
    Row {
        /// Number of the page, from 1. 0 if the rows are not read from pages.
        page: u64,
        /// Number of the row in the page, from 1. Without pages, among all rows.
        row: u64,
        /// Id of the row; nil if it has none.
        id: uuid::Uuid,
        /// Name of the option whose expression failed.
        option: &'static str,
        /// The expression as given.
        expression: String,
        /// The problem, as a predicate that follows the expression. It can have 80 characters of values of the row.
        why: String,
        /// Whether the evaluation was stopped, and not an error of the expression. Such a row is never skipped.
        stopped: bool,
    },
    /// A path whose values a transformation replaces led to no value in any written row: it is probably misspelled.
    #[error("`{option}` {path:?} matches no value in {}{}", counted(*rows, "row"), meant_path(meant.as_deref()))]
    UnmatchedPath {
        /// Name of the option with the path.
        option: &'static str,
        /// The path, in its shortest form.
        path: String,
        /// Number of rows that were written.
        rows: u64,
        /// A path that was probably meant.
        meant: Option<String>,
        /// Whether rows were already delivered, through a stream or standard output. False for files.
        delivered: bool,
    },
    /// A path that decides the types of nested columns led to no value in any row. It is probably misspelled.
    #[error("`{option}` {path:?} matches no value in {}{}", counted(*rows, "row"), meant_path(meant.as_deref()))]
    UnmatchedNode {
        /// Name of the option with the path.
        option: &'static str,
        /// The path, in its shortest form.
        path: String,
        /// Number of rows that were read.
        rows: u64,
        /// A path that leads to a value, or further than this one, and was probably meant.
        meant: Option<String>,
    },
    /// A value does not fit the given type of its column.
    #[error("{}{path} is {value}, {}", of_row(*row, id.as_deref()), phrases::unlike_schema(expected.as_deref()))]
    Misfit {
        /// Number of the row in the output, from 1; `None` if the output has splits.
        row: Option<u64>,
        /// Id of the row, if the export has this column.
        id: Option<String>,
        /// Path of the value, with the place in each list: `.input.messages[1].content`.
        path: String,
        /// Start of the JSON text of the value.
        value: String,
        /// Name of the type that the schema has there; `None` if it has no such member.
        expected: Option<String>,
    },
    /// A value, or a path, cannot be nested as asked for.
    #[error(transparent)]
    Nesting(#[from] Box<NestingError>),
    /// An environment variable or a configuration file of the client is not valid.
    #[error("{0}")]
    Configuration(String),
    /// The command needs a configuration file, and none was found.
    #[error("no configuration file: {why}")]
    NoConfiguration {
        /// The places that were searched.
        why: String,
    },
    /// The base URL is unusable.
    #[error("the base URL {url:?} cannot be used: {why}")]
    BaseUrl {
        /// The URL as given, but without credentials, query and fragment.
        url: String,
        /// The problem with the URL.
        why: String,
    },
    /// A file that configures the client cannot be used.
    #[error("cannot use {what} {}", path.display())]
    ConfigurationFile {
        /// Purpose of the file, such as "the key file".
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The problem with the file.
        #[source]
        source: Cause,
    },
    /// The system has no CA certificates, so no server can be verified.
    #[error("the system has no CA certificates")]
    NoRoots,
    /// The base URL is plain http to another machine.
    #[error("{url} is plain http: the API key would cross the network unencrypted")]
    PlainHttp {
        /// The base URL, without credentials.
        url: String,
    },
    /// The URL of an object store is plain http to another machine.
    #[error("{url} is plain http: the data would cross the network unencrypted")]
    PlainHttpStore {
        /// Endpoint of the store.
        url: String,
    },
    /// A proxy is unusable, or asks for credentials that are missing.
    #[error("the proxy of {name} cannot be used: {why}")]
    Proxy {
        /// The variable or option that sets the proxy. Its value is not kept, because it can contain a password.
        name: String,
        /// The problem with the proxy.
        why: String,
    },
    /// The API key is malformed.
    #[error("the API key cannot be used: {why}")]
    ApiKey {
        /// The problem with the key. Never contains the key.
        why: String,
        /// Origin of the key, if known.
        origin: Option<String>,
    },
    /// No API key was given anywhere.
    #[error("no API key")]
    NoKey,
    /// No dataset matches the filters of a job.
    #[error("no dataset matches {filters}")]
    NoDataset {
        /// The filters, as a query string.
        filters: String,
    },
    /// A job has no complete snapshot yet.
    #[error("job {job:?} has no snapshot yet")]
    NoSnapshot {
        /// The job's name.
        job: String,
    },
    /// Some jobs failed. The error of each job was already reported.
    #[error("{} of {} failed", grouped(*failed), counted(*of, "job"))]
    Jobs {
        /// Number of failed jobs.
        failed: u64,
        /// Number of all jobs.
        of: u64,
        /// Exit code of the failed job that comes first in the configuration file.
        exit_code: u8,
    },
    /// The API refused the request, and a retry would not help.
    #[error(transparent)]
    Api(#[from] Box<ApiError>),
    /// The API gave no usable answer within the retry limits.
    #[error("the API at {origin} stayed unavailable: {}", phrases::attempts_in(*attempts, *elapsed))]
    Unavailable {
        /// Scheme, host and port.
        origin: String,
        /// Number of requests for the page that failed.
        attempts: u64,
        /// Time from the first attempt for that page to the last.
        elapsed: Duration,
        /// Failure of the last attempt.
        #[source]
        source: Cause,
    },
    /// The certificate of the server could not be verified. Never retried.
    #[error("cannot verify the certificate of {origin}")]
    Certificate {
        /// Scheme, host and port.
        origin: String,
        /// Error of the certificate verifier.
        #[source]
        source: Cause,
    },
    /// The API asked for a pause that is longer than the retry time limit.
    #[error("the API at {origin} asks for a pause of {}", human(*wait))]
    LongPause {
        /// Scheme, host and port.
        origin: String,
        /// Requested pause: the `Retry-After` of the answer.
        wait: Duration,
    },
    /// The answer to a request for a page is not a valid page.
    #[error("the answer for page {page} is not valid")]
    Page {
        /// Number of the page, from 1.
        page: u64,
        /// The problem with the answer.
        #[source]
        source: PageError,
    },
    /// Rows are missing or repeated, because the dataset changed during the export.
    #[error("the dataset changed during the export: {seen}")]
    Incomplete {
        /// The observed change.
        seen: String,
        /// Whether rows were already delivered, through a stream or standard output. False for files.
        delivered: bool,
        /// Whether they are not the rows of a plan for many workers, which must begin again.
        planned: bool,
    },
    /// The list of datasets changed each time that it was read.
    #[error("the list of datasets changed while it was read: {seen}")]
    ListChanged {
        /// The observed change.
        seen: String,
    },
    /// The rows do not have the requested order.
    #[error("the API does not apply the ordering: {0}")]
    OutOfOrder(String),
    /// A file of an export is damaged.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// The problem with the file.
        why: String,
    },
    /// A file has a column that cannot be read.
    #[error(transparent)]
    Column(#[from] Box<ColumnError>),
    /// The cells of a CSV file are protected from spreadsheets. They are not the values of the rows.
    #[error("{}: its header is in quotes, so its cells are protected from spreadsheets (`csv_safe`) and are not the values of the rows", path.display())]
    ChangedCells {
        /// Path of the file.
        path: PathBuf,
    },
    /// A value in an existing file exceeds the memory limit for one value.
    #[error("{}: {what}, and the limit is {}", path.display(), grouped(*limit))]
    ValueTooLarge {
        /// Path of the file.
        path: PathBuf,
        /// The value that is too large, and its size.
        what: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// Some paths could not be verified, because there is no record to compare them with.
    #[error("{} of {} could not be checked", grouped(*unchecked), counted(*of, "path"))]
    Unchecked {
        /// Number of paths that could not be checked.
        unchecked: u64,
        /// Number of all paths.
        of: u64,
    },
    /// Some exports could not be read, so it is unknown whether they are damaged.
    #[error("{} of {} could not be read", grouped(*unread), counted(*of, "export"))]
    Unread {
        /// Number of exports that could not be read.
        unread: u64,
        /// Number of all exports.
        of: u64,
    },
    /// Some exports have changed since they were written.
    #[error("{}", phrases::damaged_of(*damaged, *of))]
    Unverified {
        /// Number of damaged exports.
        damaged: u64,
        /// Number of all exports.
        of: u64,
    },
    /// The output already exists or cannot be created.
    #[error("{}: {why}", path.display())]
    Output {
        /// The output, as given.
        path: PathBuf,
        /// The reason why it cannot be created.
        why: String,
        /// The next step for the user.
        hint: Option<&'static str>,
        /// Error of the operating system.
        #[source]
        source: Option<Cause>,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The failed action, as a verb: "write", "rename", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Writing to standard output failed.
    #[error("cannot write standard output")]
    Stdout {
        /// Error of the operating system.
        source: io::Error,
    },
    /// The export is complete, but it could not be moved to its final name.
    #[error("cannot publish {}", path.display())]
    Unpublished {
        /// The output, as given, or its manifest.
        path: PathBuf,
        /// The place of the finished files, and how to publish them by hand.
        hint: String,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The output is published and complete, but it may not survive a power failure.
    #[error("{} is published, but its folder could not be synced", path.display())]
    NotDurable {
        /// The output, as given.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Another program changed a finished part while the run was active.
    #[error("{} {why}", path.display())]
    PartChanged {
        /// The staged file or object.
        path: PathBuf,
        /// The change, as a predicate. In the message, it follows the path.
        why: String,
    },
    /// An object store refused a request or could not be reached.
    #[error("cannot {action} {url}")]
    Store {
        /// The failed action, as a verb: "read", "write", "list", …
        action: &'static str,
        /// The object or prefix, as given.
        url: String,
        /// The next step for the user.
        hint: Option<&'static str>,
        /// Error of the store.
        #[source]
        source: Cause,
    },
    /// The encoder of a format failed.
    #[error("cannot encode {format}")]
    Encode {
        /// Name of the format.
        format: &'static str,
        /// Error of the encoder.
        #[source]
        source: Cause,
    },
    /// Another run is writing the same output.
    #[error("another run is writing {}", path.display())]
    Locked {
        /// The output, as given.
        path: PathBuf,
    },
    /// The run lost the lock on its output. Nothing was published.
    #[error("{}: the lock was lost: {why}", path.display())]
    LockLost {
        /// The output, as given.
        path: PathBuf,
        /// The reason for the loss.
        why: String,
    },
    /// The plan of an export by many workers is not there, and the output exists: it was committed, or aborted.
    #[error("{}: no plan for many workers is there", path.display())]
    PlanEnded {
        /// The output, as given.
        path: PathBuf,
    },
    /// Neither a plan nor an output is there: it was not begun, its path is misspelled, or it was aborted.
    #[error("{}: no plan for many workers is there{}", path.display(), meant_output(similar))]
    NoPlan {
        /// The output, as given.
        path: PathBuf,
        /// An output with a plan and a similar name.
        similar: Option<PathBuf>,
    },
    /// The plan of an export by many workers was changed, or another version wrote it.
    #[error("{}: its plan for many workers {why}", path.display())]
    PlanDamaged {
        /// The output, as given.
        path: PathBuf,
        /// The problem with the plan, as a predicate. In the message, it follows the word "workers".
        why: String,
    },
    /// A commit has begun to publish the export of a plan for many workers. If it stops, the next commit continues it.
    #[error("{}: a commit of its plan has begun to publish", path.display())]
    CommitBegun {
        /// The output, as given.
        path: PathBuf,
    },
    /// Ranges of pages of an export by many workers are missing or cannot be used. Nothing was published, and the other
    /// ranges are kept.
    #[error("{}: the export is not complete: {}", path.display(), listed(problems))]
    MissingRanges {
        /// The output, as given.
        path: PathBuf,
        /// The problem with each of these ranges.
        problems: Vec<String>,
        /// Numbers of the ranges to write again, from 1, in order.
        ranges: Vec<u32>,
        /// Number of ranges of the plan.
        of: u32,
    },
    /// Another program wrote the output during the run, or the run lost its lock while it published. Perhaps only
    /// a part of the output is from this run.
    #[error("{} {why}", path.display())]
    Replaced {
        /// The replaced file or object.
        path: PathBuf,
        /// The reason, as a predicate. In the message, it follows the path.
        why: String,
        /// The present state, and the next step.
        hint: &'static str,
    },
    /// A signal stopped the run.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// Name of the signal.
        signal: &'static str,
        /// Number of the signal.
        number: u8,
        /// How the next run will use the files of this one.
        hint: Option<&'static str>,
    },
    /// The reader of standard output closed it. This ends the run, but is not a failure (exit code 0).
    #[error("standard output was closed")]
    OutputClosed,
    /// A [`Sink`](crate::Sink) that another crate implements failed.
    #[error("the sink failed")]
    Sink {
        /// The error of the sink.
        #[source]
        source: Cause,
    },
    /// A bug in this crate.
    #[error("internal error: {0}")]
    Internal(String),
}
