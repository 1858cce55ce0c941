//! Limits of the machine: finds the limit behind a system error, and gives the hint for it.

use std::{error::Error as _, io};

use crate::error::{Error, panics};

/// Beginning of tokio's panic message when it cannot start a thread. Tokio has no error for that case.
const NO_THREAD: &str = "OS can't spawn worker thread";

const THREADS: &str = "the system refuses to start more threads: raise the limit of processes and threads \
                       (RLIMIT_NPROC, `ulimit -u`; in a container also its limit of PIDs)";
const REFUSED: &str = "this process is not allowed to start threads; old container runtimes block the \
                       system call clone3: update the runtime (Docker to 20.10.10 or later)";
const FILES: &str =
    "raise the limit of open files (RLIMIT_NOFILE), for example with `ulimit -n 1024`";
const ALL_FILES: &str =
    "the whole system has too many files open: close some, or raise fs.file-max";
const SIZE: &str = "a file reached the limit of file sizes: raise it (RLIMIT_FSIZE, `ulimit -f`) or \
                    write smaller files with `rows_per_file`; nothing was published";
const SHOWN: &str = "standard output goes to a file that reached the limit of file sizes: raise it \
                     (RLIMIT_FSIZE, `ulimit -f`); the output is incomplete";
const QUOTA: &str =
    "your quota is used up: make room, or write somewhere else; nothing was published";

/// Returns the hint for a limit of the machine, if this error or one of its causes is due to one.
pub(crate) fn hint(error: &Error) -> Option<&'static str> {
    if let Error::Io { action: "start", source, .. } = error {
        return Some(match source.kind() {
            io::ErrorKind::PermissionDenied => REFUSED,
            _ => THREADS,
        });
    }
    let to_stdout = matches!(error, Error::Stdout { .. });
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(hint) = cause.downcast_ref().and_then(of_system) {
            return Some(if to_stdout && hint == SIZE { SHOWN } else { hint });
        }
        next = cause.source();
    }
    None
}

fn of_system(error: &io::Error) -> Option<&'static str> {
    // An error of this crate has no OS error number. The error inside it comes next in the chain.
    error.raw_os_error()?;
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::MFILE) => return Some(FILES),
            Some(Errno::NFILE) => return Some(ALL_FILES),
            _ => {}
        }
    }
    match error.kind() {
        io::ErrorKind::FileTooLarge => Some(SIZE),
        io::ErrorKind::QuotaExceeded => Some(QUOTA),
        _ => None,
    }
}

impl Error {
    /// Creates the error for a thread that could not be started.
    pub fn no_thread(source: io::Error) -> Self {
        Self::Io { action: "start", path: "a thread".into(), source }
    }

    /// Creates the error for a caught panic from its message.
    ///
    /// The result is a bug ([`Error::Internal`]), or an [`Error::Io`] if tokio could not start a thread.
    /// `what` names the work that panicked, such as `"decoding a page"`.
    pub fn panicked(what: &str, message: &str) -> Self {
        match message.strip_prefix(NO_THREAD) {
            Some(cause) => Self::no_thread(system_error(cause)),
            None => {
                let place = panics::place_of(message).map(|place| format!(" at {place}"));
                Self::Internal(format!("{what} panicked{}: {message}", place.unwrap_or_default()))
            }
        }
    }
}

/// Restores an OS error from a text that ends in its number, such as `… (os error 11)`.
fn system_error(text: &str) -> io::Error {
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.strip_suffix(')'));
    match number.and_then(|number| number.parse().ok()) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(text.trim_start_matches([':', ' ']).to_owned()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn io(action: &'static str, errno: Errno) -> Error {
        Error::io(action, "x")(errno.into())
    }

    #[test]
    fn each_limit_has_a_hint_and_exit_code_74() {
        let output = |errno: Errno| Error::Output {
            path: "x".into(),
            why: "cannot be made".to_owned(),
            hint: Some("choose another folder"),
            source: Some(io::Error::from(errno).into()),
        };
        let table = [
            (io("write", Errno::FBIG), SIZE),
            (io("open", Errno::MFILE), FILES),
            (io("open", Errno::NFILE), ALL_FILES),
            (io("write", Errno::DQUOT), QUOTA),
            (output(Errno::MFILE), FILES),
            (io("start", Errno::AGAIN), THREADS),
            (io("start", Errno::PERM), REFUSED),
        ];
        for (error, hint) in table {
            assert_eq!((error.exit_code(), error.hint().as_deref()), (74, Some(hint)), "{error:?}");
        }
        assert_eq!(output(Errno::ACCESS).exit_code(), 73);
        assert_eq!(output(Errno::ACCESS).hint().as_deref(), Some("choose another folder"));
    }

    #[test]
    fn tokio_panic_without_thread_is_a_limit() {
        let text = "OS can't spawn worker thread: Resource temporarily unavailable (os error 11)";
        let error = Error::panicked("decoding a page", text);
        assert_eq!(error.hint().as_deref(), Some(THREADS));
        let report = error.report().to_string();
        assert!(report.starts_with("error: cannot start a thread\n  cause: Resource"), "{report}");
        let error = Error::panicked("decoding a page", "index out of bounds");
        assert_eq!(error.exit_code(), 70);
        assert_eq!(
            error.to_string(),
            "internal error: decoding a page panicked: index out of bounds"
        );
    }
}
