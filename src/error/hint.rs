//! The hint of each error: the next step for the user.

use std::{borrow::Cow, io};

use super::{Error, limits, missing_path};
use crate::text;

impl Error {
    /// Returns the next step for the user, if there is one.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        if let Some(hint) = limits::hint(self) {
            return Some(Cow::Borrowed(hint));
        }
        let hint = match self {
            Self::NoKey => {
                "set OVERMIND_LAB_API_KEY (or OVERMIND_API_KEY), or give `api_key_file`; \
                 `overmind-export demo` needs no key"
            }
            Self::NoConfiguration { .. } => {
                "give one with `config`; config/snapshots.toml in the sources is an example to copy"
            }
            Self::NoDataset { .. } => {
                "`overmind-export datasets` takes the same filters and lists the datasets that the key can see"
            }
            Self::NoSnapshot { .. } => "`overmind-export snapshot` takes one",
            Self::Expression { option: "mask" | "pseudonymise", .. } => {
                "a path is made of names, [] and [N], such as .tags.user.email or .input.messages[].name; quote it \
                 for the shell: 'PATH'"
            }
            Self::Expression { .. } => {
                "the page Shape your data of the guide lists the functions and has examples; quote the expression for \
                 the shell: 'EXPR'"
            }
            Self::Row { stopped: true, .. } => {
                "simplify the expression; if it only needs more time, raise `expression_timeout`"
            }
            Self::Row { option, .. } => return Some(hint_of_row(option)),
            Self::UnmatchedPath { delivered: false, .. } => {
                "nothing was published: check the spelling of the path, or leave it out if no row has such a value"
            }
            Self::UnmatchedPath { delivered: true, .. } => {
                "rows were already delivered, and their values may be those that the path was meant to replace: \
                 check the spelling of the path, or leave it out if no row has such a value"
            }
            Self::UnmatchedNode { .. } => {
                "check the spelling of the path, or leave it out if no row has such a value"
            }
            Self::Misfit { .. } => {
                "nothing was published: leave out `schema` to find types that hold every value, change the type to json, \
                 or give `rescue` to keep such values in a column of their own"
            }
            Self::Nesting(error) => error.hint(),
            Self::Column(error) => return error.hint.map(Cow::Borrowed),
            Self::BaseUrl { .. } => {
                "set it with `base_url`, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is \
                 https://api.overmindlab.ai"
            }
            Self::NoRoots => {
                "install the package ca-certificates (its usual name), set SSL_CERT_FILE to a PEM file \
                 of CA certificates, or give the server's CA certificate with `ca_cert`"
            }
            Self::Proxy { .. } => {
                "give it as http://proxy.example.org:3128, with user:password@ before the host if the \
                 proxy asks for them; list in NO_PROXY the hosts to reach without the proxy"
            }
            Self::ApiKey { origin: Some(origin), .. } => {
                return Some(format!("it comes from {origin}").into());
            }
            Self::PlainHttp { .. } => {
                "use https, or give `allow_http` if you trust the network in between"
            }
            Self::PlainHttpStore { .. } => {
                "use https, or set the storage option allow_http=true if you trust the network in between"
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
                "check the base URL and the network; a larger `timeout`, `retry_for` or \
                 `max_retries` gives the API more time"
            }
            Self::Certificate { .. } => {
                "check the base URL; if the server uses a private authority, give its certificate \
                 with `ca_cert`"
            }
            Self::LongPause { .. } => {
                "run again after that pause, or set `retry_for` to a longer time"
            }
            Self::Page { source, .. } => return source.hint().map(Cow::Borrowed),
            Self::Incomplete { planned: true, .. } => {
                "nothing was published: run `overmind-export begin` again with `restart` when the dataset no longer \
                 changes, and with `ordering id` if the API's default order is not stable"
            }
            Self::Incomplete { delivered: true, .. } => {
                "the delivered rows are not the whole dataset; export again when the dataset no longer \
                 changes, or give `ordering id` if the API's default order is not stable"
            }
            Self::Incomplete { delivered: false, .. } => {
                "nothing was published; export again when the dataset no longer changes, or give \
                 `ordering id` if the API's default order is not stable"
            }
            Self::ListChanged { .. } => "run again when no dataset is being added or removed",
            Self::OutOfOrder(_) => {
                "the API ignores an ordering that it does not support: leave out `ordering`, or give \
                 a supported one"
            }
            Self::Output { hint, .. }
            | Self::Store { hint, .. }
            | Self::Interrupted { hint, .. } => {
                return hint.map(Cow::Borrowed);
            }
            Self::Stdout { source } if source.kind() == io::ErrorKind::StorageFull => {
                "make room where standard output goes, and run again: the output is incomplete"
            }
            // EBADF has this number on every Unix.
            Self::Stdout { source } if source.raw_os_error() == Some(9) => {
                "standard output is closed: redirect it to a file, a pipe or /dev/null"
            }
            Self::Io { action: "read", path, source }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return missing_path::hint(path);
            }
            Self::Io { source, action, .. } if source.kind() == io::ErrorKind::StorageFull => {
                match *action {
                    "keep ids in" | "keep hashes in" => {
                        "make room there, or give another folder with `temp_dir`; nothing was published"
                    }
                    _ => "make room, or write somewhere else; nothing was published",
                }
            }
            Self::Io {
                action: "run xdg-open for" | "run open for" | "run explorer for", ..
            } => "the page is complete: open it by hand",
            // Only the folder for ids and hashes has its own option.
            Self::Io { action: "keep ids in" | "keep hashes in", .. } => {
                "give a folder that this user can write to with `temp_dir`"
            }
            Self::ChangedCells { .. } => {
                "use an export without `csv_safe`; `overmind-export verify` compares the SHA-256 of this one, if it has a record"
            }
            Self::ValueTooLarge { .. } => {
                "if you trust the writer of the file, raise the limit with `max_value_bytes`, up to 256MiB"
            }
            Self::Unchecked { .. } | Self::Unread { .. } => {
                "each line above gives the reason and the next step"
            }
            Self::Unverified { .. } => "the lines above name the damage: export again",
            Self::Locked { .. } => "wait for the other run to end, or write somewhere else",
            Self::LockLost { .. } => {
                "nothing was published: run the same command again when no other run is active"
            }
            Self::PlanEnded { .. } => {
                "it was committed or aborted, or `overmind-export begin` has not run: nothing was published by this step"
            }
            Self::NoPlan { .. } => {
                "run `overmind-export begin` first, or correct the path; a plan that was aborted leaves nothing there"
            }
            Self::PlanDamaged { .. } => {
                "`overmind-export abort` removes it with everything that workers have staged; then begin again"
            }
            Self::CommitBegun { .. } => {
                "this step wrote nothing: if no commit is active, `overmind-export commit` continues the one that was \
                 interrupted"
            }
            Self::MissingRanges { ranges, of, .. } => {
                return Some(Cow::Owned(format!(
                    "nothing was published, and all other ranges are kept: run `overmind-export part` again for {}, then \
                     commit",
                    text::ranges(ranges, *of)
                )));
            }
            Self::Replaced { hint, .. } => hint,
            Self::Internal(_) | Self::Encode { .. } => {
                "this is a bug: please report it with the command and this text"
            }
            _ => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}

/// Returns the hint for an expression or a path that failed on a row.
fn hint_of_row(option: &str) -> Cow<'static, str> {
    let otherwise = match option {
        "mask" | "pseudonymise" => {
            return Cow::Borrowed(
                "a value could stay in the row, so it is not written, whatever `on_error` says: repair it at its source, \
                 or leave it out with `where`, such as .order != 17",
            );
        }
        "dedupe" => ", `on_error null` to keep them without a comparison",
        "split_by" => ", `on_error null` to give all of them the same key",
        "column" => ", `on_error null` to write null in this column",
        _ => "",
    };
    Cow::Owned(format!(
        "change the expression: (.persona // \"\") for a value that can be null, .tags.topic? where .tags is not always an \
         object; or give `on_error skip` to leave such rows out{otherwise}"
    ))
}
