//! Limits of the machine: which one an error of the system means, and what to do about it.

use std::{error::Error as _, io, path::Path};

use crate::error::{Error, panics};

/// What a panic of tokio says that cannot start a thread; it has no error for that.
const NO_THREAD: &str = "OS can't spawn worker thread";

const THREADS: &str = "the system starts no more threads: raise the limit of processes and threads \
                       (RLIMIT_NPROC, `ulimit -u`; in a container also its limit of PIDs)";
const REFUSED: &str = "something forbids this process to start threads; old container runtimes refuse \
                       the system call clone3: update the runtime (Docker to 20.10.10 or later)";
const FILES: &str =
    "raise the limit of open files (RLIMIT_NOFILE), for example with `ulimit -n 1024`";
const ALL_FILES: &str =
    "the whole system has too many files open: close some, or raise fs.file-max";
const SIZE: &str = "a file may not grow further: raise the limit of file sizes (RLIMIT_FSIZE, `ulimit \
                    -f`) or write smaller files with --rows-per-file; nothing was published";
const SHOWN: &str = "the file that standard output goes to may not grow further: raise the limit of file \
                     sizes (RLIMIT_FSIZE, `ulimit -f`); what is there is not whole";
const QUOTA: &str =
    "your quota is used up: make room, or write somewhere else; nothing was published";

/// What to do about the limit that this error or one of its causes tells of, if one does.
pub(crate) fn hint(error: &Error) -> Option<&'static str> {
    if let Error::Io { action: "start", source, .. } = error {
        return Some(match source.kind() {
            io::ErrorKind::PermissionDenied => REFUSED,
            _ => THREADS,
        });
    }
    let to_stdout = matches!(error, Error::Io { path, .. } if path == Path::new("standard output"));
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
    // An error of ours has no number, and what it wraps is the next in the chain.
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
    /// The error for a thread that could not be started.
    pub fn no_thread(source: io::Error) -> Self {
        Self::Io { action: "start", path: "a thread".into(), source }
    }

    /// The error for a panic that was caught, from its message: a bug, or a thread that tokio could not
    /// start. `what` is what was done, such as `"decoding a page"`.
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

/// The error whose text ends like this: `… (os error 11)`.
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
    fn each_limit_is_named_and_exits_with_74() {
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
