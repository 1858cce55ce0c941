//! The table `[api]`: settings for the connection to the API. Environment variables and flags take precedence
//! over them.

use std::path::{Path, PathBuf};

use super::section::{ConfigItem, ConfigResult, Section};
use crate::{
    client::{ApiKey, Connection},
    config::values,
    throttle::{Concurrency, InFlight},
};

/// Reads the table. Missing keys are `None`.
pub(super) fn read(
    mut section: Section<'_>,
    file: &Path,
    resolve: impl Fn(&str) -> PathBuf,
) -> ConfigResult<Connection> {
    let path = |item: &ConfigItem<'_>| item.path().map(|path| resolve(&path));
    let key = section.read("api_key_file", |item| Ok((path(item)?, item.line())))?;
    let api = Connection {
        base_url: section.read("base_url", |item| item.text().map(str::to_owned))?,
        api_key_origin: key.as_ref().map(|(key, line)| {
            let (key, file) = (key.display(), file.display());
            format!("the file {key} (api_key_file in line {line} of {file})")
        }),
        api_key: key.map(|(path, _)| ApiKey::File(path)),
        ca_cert: section.read("ca_cert", path)?,
        allow_http: section.read("allow_http", ConfigItem::flag)?,
        concurrency: section.take("concurrency").map(|item| concurrency(&item)).transpose()?,
        rate_limit: section.read("rate_limit", |item| item.parse(values::rate))?,
        timeout: section.read("timeout", |item| item.parse(values::timeout))?,
        connect_timeout: section.read("connect_timeout", |item| item.parse(values::timeout))?,
        max_retries: section.read("max_retries", ConfigItem::integer)?,
        retry_for: section.read("retry_for", |item| item.parse(values::duration))?,
        ..Connection::default()
    };
    section.finish()?;
    Ok(api)
}

/// Parses a concurrency: `"auto"`, or a number with or without quotes.
fn concurrency(item: &ConfigItem<'_>) -> ConfigResult<Concurrency> {
    let why = format!("give \"auto\" or a number from 1 to {}", InFlight::MAX);
    let text = match item.integer::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => item.text().map_err(|_| item.wrong(&why))?.to_owned(),
    };
    text.parse().map_err(|_| item.wrong(&why))
}
