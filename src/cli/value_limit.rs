//! `--max-value-bytes`: the size limit for values, for every subcommand that reads exports.

use crate::ReadOptions;
use clap::Args;

use super::values;

#[derive(Debug, Clone, Args)]
pub(super) struct ValueLimit {
    /// Largest value to accept in an export, after decompression; at most 256MiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = value_bytes)]
    pub(super) max_value_bytes: usize,
}

impl ValueLimit {
    /// Returns options to read only these columns. An empty slice means all columns.
    pub(super) fn options(&self, columns: &[String]) -> ReadOptions {
        ReadOptions {
            columns: columns.to_vec(),
            max_value_bytes: self.max_value_bytes,
            ..ReadOptions::default()
        }
    }
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes = values::bytes(text)?;
    if bytes > ReadOptions::HIGHEST {
        return Err("use at most 256MiB: the values of a row must fit into 2 GiB".to_owned());
    }
    Ok(bytes)
}
