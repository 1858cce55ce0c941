//! `verify`: is an export still what it was when it was written?

use clap::Args;
use indicatif::HumanCount;
use overmind_export::{Error, Result, Verification, verify};

use super::{global::Global, progress::Screen, storage::Storage};

/// Check that exports are still what they were when they were written; without the API
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Directories of parts, or single files; paths, or URLs such as s3://bucket/prefix/
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Print one JSON object a path instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

impl Verify {
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<()> {
        let (mut damaged, mut unread) = (0, None);
        let locations = self.paths.iter().map(|path| self.storage.location(path, global));
        // What is typed wrong is told before anything is read.
        for location in locations.collect::<Result<Vec<_>>>()? {
            let found = match verify(&location) {
                Ok(found) => found,
                // The first is the one to end with; none keeps the others from being checked.
                Err(error) if unread.is_none() => {
                    unread = Some(error);
                    continue;
                }
                Err(error) => {
                    screen.complain(error.report().to_string().trim_end());
                    continue;
                }
            };
            damaged += u64::from(!found.is_ok());
            super::heard(match self.json {
                true => super::print_json(&found),
                false => self.tell(&found, screen),
            })?;
        }
        if damaged == 0 {
            return unread.map_or(Ok(()), Err);
        }
        // That data is damaged is worse than not to know.
        if let Some(error) = unread {
            screen.complain(error.report().to_string().trim_end());
        }
        Err(Error::Unverified { damaged, of: self.paths.len() as u64 })
    }

    fn tell(&self, found: &Verification, screen: &Screen) -> Result<()> {
        let path = found.path.display();
        for problem in &found.problems {
            super::print(&format!("{path}: {problem}\n"))?;
        }
        if found.is_ok() && !screen.is_quiet() {
            super::print(&format!("{path}: ok, {} rows\n", HumanCount(found.rows)))?;
        }
        Ok(())
    }
}
