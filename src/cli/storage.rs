//! `--storage-option`: what every subcommand takes that reads or writes places.

use clap::Args;
use overmind_export::{Config, Error, Location, Result, StorageOptions};
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
    /// The settings, with the authority to trust that the connection to the API has.
    pub(super) fn options(&self, global: &Global) -> Result<StorageOptions> {
        let mut options = StorageOptions::default();
        if let Some(path) = &global.ca_cert {
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

    /// Likewise; the authority may be the one that the configuration file names.
    pub(super) fn options_with(&self, global: &Global, config: &Config) -> Result<StorageOptions> {
        let options = self.options(global)?;
        Ok(match &config.api.ca_cert {
            Some(path) if global.ca_cert.is_none() => options.with_ca_cert(path),
            _ => options,
        })
    }

    /// The place that was typed.
    pub(super) fn location(&self, text: &str, global: &Global) -> Result<Location> {
        Location::parse(text, &self.options(global)?)
    }
}
