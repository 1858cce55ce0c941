//! `--max-value-bytes`: what every subcommand takes that reads exports back.

use crate::{Column, ReadOptions};
use clap::Args;

use super::values;

#[derive(Debug, Clone, Args)]
pub(super) struct Bound {
    /// The largest value to accept when an export is read, after decompression; 256MiB at most
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = value_bytes)]
    pub(super) max_value_bytes: usize,
}

impl Bound {
    /// With only these columns; of none, all.
    pub(super) fn options(&self, columns: &[Column]) -> ReadOptions {
        ReadOptions { columns: columns.to_vec(), max_value_bytes: self.max_value_bytes }
    }
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes = values::bytes(text)?;
    if bytes > ReadOptions::HIGHEST {
        return Err("256MiB is the most: a row's values must fit into 2 GiB".to_owned());
    }
    Ok(bytes)
}
