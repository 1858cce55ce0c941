//! `verify`: checks whether an export has changed since it was written.

use std::{ffi::OsString, path::PathBuf};

use crate::{
    Check, Error, Failure, ReadOptions, Result, Verification,
    text::{counted, grouped},
    verify_with,
};
use clap::Args;

use super::{
    flags::with_flags, global::Global, lines::Lines, progress::Screen, storage::Storage,
    table::terminal_width, value_limit::ValueLimit,
};

/// Check that exports are complete and have not changed since they were written, without the API
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Directories of parts or single files: paths, or URLs such as s3://bucket/prefix/
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
    /// Print one JSON object per path instead of text
    #[arg(long)]
    json: bool,
    /// Where the record of the export is, if it was written with --record
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    record: Option<PathBuf>,
    #[command(flatten)]
    value_limit: ValueLimit,
    #[command(flatten)]
    storage: Storage,
}

impl VerifyArgs {
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<()> {
        if self.record.is_some() && self.paths.len() > 1 {
            return Err(Error::Usage("--record is for one export: give one path".to_owned()));
        }
        let record =
            self.record.as_ref().map(|path| self.storage.location(path.as_os_str(), global));
        let options = ReadOptions { record: record.transpose()?, ..self.value_limit.options(&[]) };
        let (mut damaged, mut unchecked, mut unread, mut failed) = (0, 0, 0, None);
        let locations = self.paths.iter().map(|path| self.storage.location(path, global));
        // Parse all locations first, so that a wrong argument is reported before anything is read.
        for location in locations.collect::<Result<Vec<_>>>()? {
            let mut found = match verify_with(&location, &options) {
                Ok(found) => found,
                // The first error is reported at the end. The other paths are still checked.
                Err(error) if failed.is_none() => {
                    failed = Some(error);
                    continue;
                }
                Err(error) => {
                    screen.print_failure("", &Failure::new(&error));
                    continue;
                }
            };
            for problem in &mut found.problems {
                *problem = with_flags(problem).into_owned();
            }
            found.unchecked = found.unchecked.map(|why| with_flags(&why).into_owned());
            // Damage is more serious than an unread file.
            match (found.problems.as_slice(), found.unread.as_slice(), &found.unchecked) {
                ([_, ..], _, _) => damaged += 1,
                ([], [_, ..], _) => unread += 1,
                ([], [], Some(_)) => unchecked += 1,
                ([], [], None) => {}
            }
            super::ignore_closed_stdout(match self.json {
                true => super::print_json(&found),
                false => self.tell(&found, screen),
            })?;
        }
        let of = self.paths.len() as u64;
        if damaged == 0 {
            return match failed {
                Some(error) => Err(error),
                None if unread > 0 => Err(Error::Unread { unread, of }),
                None if unchecked > 0 => Err(Error::Unchecked { unchecked, of }),
                None => Ok(()),
            };
        }
        // Damaged data is more serious than a path that could not be read, so it decides the exit code.
        if let Some(error) = failed {
            screen.print_failure("", &Failure::new(&error));
        }
        Err(Error::Unverified { damaged, of })
    }

    fn tell(&self, found: &Verification, screen: &Screen) -> Result<()> {
        let path = found.path.display();
        let mut lines = Lines::default();
        for text in found.problems.iter().chain(&found.unread).chain(&found.unchecked) {
            lines.push(format_args!("{path}: {text}"));
        }
        if found.is_ok() && !screen.is_quiet() {
            let (rows, covered) = (counted(found.rows, "row"), covered(found));
            let rows = match found.rows_read {
                Some(read) if read != found.rows => format!("{rows} of {} read", grouped(read)),
                _ => rows,
            };
            lines.push(format_args!("{path}: ok, {rows}; {covered}"));
        }
        super::print(&lines.wrapped(terminal_width()))
    }
}

/// Describes the checks that were made.
fn covered(found: &Verification) -> String {
    let how = [(Check::Sha256, "SHA-256"), (Check::Xxh3, "XXH3")];
    let how = how.into_iter().filter(|(check, _)| found.checked.contains(check));
    let how: Vec<_> = how.map(|(_, name)| name).collect();
    match how.as_slice() {
        [] => {
            "its rows were checked, not every byte: it has no checksum and no manifest".to_owned()
        }
        how => format!("every byte was checked ({})", how.join(", ")),
    }
}
