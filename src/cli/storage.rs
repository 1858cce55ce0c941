//! `--storage-option`: the settings of object stores, for every subcommand that reads or writes exports.

use std::ffi::OsStr;

use crate::{Config, Error, Location, Result, StorageOptions};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::global::Global;

#[derive(Debug, Clone, Args)]
pub(super) struct Storage {
    /// Setting of the object store, such as region=eu-north-1 or endpoint=http://127.0.0.1:9000;
    /// repeatable. Other processes can see it: put secrets into environment variables
    // Not parsed by clap, because clap would print a value that it cannot parse.
    #[arg(
        long,
        value_name = "KEY=VALUE",
        value_parser = |text: &str| Ok::<_, String>(SecretString::from(text)),
        help_heading = "Object store"
    )]
    storage_option: Vec<SecretString>,
}

impl Storage {
    /// Returns the settings for these places. A certificate that the connection to the API trusts is also
    /// trusted here: the one of the flag, or else of the configuration file. For local paths alone, the file is
    /// not read.
    pub(super) fn options(&self, global: &Global, places: &[&OsStr]) -> Result<StorageOptions> {
        let remote = places.iter().any(|place| place.to_string_lossy().contains("://"));
        let config = if remote && global.ca_cert.is_none() { global.config()? } else { None };
        self.options_with(global, config.as_ref())
    }

    /// Does the same as [`Self::options`] with a configuration that was already read.
    pub(super) fn options_with(
        &self,
        global: &Global,
        config: Option<&Config>,
    ) -> Result<StorageOptions> {
        let mut options = StorageOptions::default();
        let named = config.and_then(|config| config.api.ca_cert.as_ref());
        if let Some(path) = global.ca_cert.as_ref().or(named) {
            options = options.with_ca_cert(path);
        }
        for option in &self.storage_option {
            match option.expose_secret().split_once('=') {
                Some((key, value)) if !key.is_empty() => options = options.with(key, value),
                _ => {
                    let text = "--storage-option takes KEY=VALUE, such as region=eu-north-1";
                    return Err(Error::Usage(text.to_owned()));
                }
            }
        }
        Ok(options)
    }

    /// Parses a path or URL from the command line.
    pub(super) fn location(&self, text: &OsStr, global: &Global) -> Result<Location> {
        Location::of(text, &self.options(global, &[text])?)
    }
}
