//! `--storage-option`: what every subcommand takes that reads or writes places.

use crate::{Config, Error, Location, Result, StorageOptions};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::global::Global;

#[derive(Debug, Clone, Args)]
pub(super) struct Storage {
    /// A setting of the object store, such as region=eu-north-1 or endpoint=http://127.0.0.1:9000; may
    /// be given more than once. Others see arguments: leave secrets to the environment
    // Taken whole, because what cannot be parsed would be quoted.
    #[arg(
        long,
        value_name = "KEY=VALUE",
        value_parser = |text: &str| Ok::<_, String>(SecretString::from(text)),
        help_heading = "Object store"
    )]
    storage_option: Vec<SecretString>,
}

impl Storage {
    /// The settings for these places, with the authority to trust that the connection to the API has:
    /// the flag's, or the configuration file's, which local paths alone do not need.
    pub(super) fn options(&self, global: &Global, places: &[&str]) -> Result<StorageOptions> {
        let remote = places.iter().any(|place| place.contains("://"));
        let config = if remote && global.ca_cert.is_none() { global.config()? } else { None };
        self.options_with(global, config.as_ref())
    }

    /// Likewise, where the configuration has been read already.
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

    /// The place that was typed.
    pub(super) fn location(&self, text: &str, global: &Global) -> Result<Location> {
        Location::parse(text, &self.options(global, &[text])?)
    }
}
