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
        let mut damaged = 0;
        for path in &self.paths {
            let found = verify(&self.storage.location(path, global)?)?;
            damaged += u64::from(!found.is_ok());
            if self.json {
                super::print_json(&found)?;
            } else {
                self.tell(&found, screen)?;
            }
        }
        match damaged {
            0 => Ok(()),
            damaged => Err(Error::Unverified { damaged, of: self.paths.len() as u64 }),
        }
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
