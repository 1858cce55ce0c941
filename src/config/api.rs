//! `[api]`: how to reach the API. Environment and flags win over all of it.

use std::{path::PathBuf, time::Duration};

use super::{
    keys::duration,
    section::{Item, Result, Section},
};
use crate::{
    client::ClientBuilder,
    throttle::{Concurrency, Rate},
};

/// What the file says about the connection; what it does not say is `None`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Api {
    /// Where the API lives.
    pub base_url: Option<String>,
    /// A file whose first line is the key; a relative path has been resolved.
    pub api_key_file: Option<PathBuf>,
    /// A PEM file of certificates to trust besides the system's; likewise resolved.
    pub ca_cert: Option<PathBuf>,
    /// Whether plain http to another machine is allowed.
    pub allow_http: Option<bool>,
    /// Requests in flight at once.
    pub concurrency: Option<Concurrency>,
    /// The most requests to start in a given time.
    pub rate_limit: Option<Rate>,
    /// How long one request may take.
    pub timeout: Option<Duration>,
    /// How long connecting may take.
    pub connect_timeout: Option<Duration>,
    /// How often one request is retried.
    pub max_retries: Option<u64>,
    /// How long the API may do nothing but fail.
    pub retry_for: Option<Duration>,
}

impl Api {
    pub(super) fn read(
        mut section: Section<'_>,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> Result<Self> {
        let path = |item: &Item<'_>| item.text().map(&resolve);
        let api = Self {
            base_url: section.read("base_url", |item| item.text().map(str::to_owned))?,
            api_key_file: section.read("api_key_file", path)?,
            ca_cert: section.read("ca_cert", path)?,
            allow_http: section.read("allow_http", Item::flag)?,
            concurrency: section.take("concurrency").map(|item| concurrency(&item)).transpose()?,
            rate_limit: section.read("rate_limit", |item| item.parse(rate))?,
            timeout: section.read("timeout", |item| item.parse(some_time))?,
            connect_timeout: section.read("connect_timeout", |item| item.parse(some_time))?,
            max_retries: section.read("max_retries", Item::integer)?,
            retry_for: section.read("retry_for", |item| item.parse(duration))?,
        };
        section.finish()?;
        Ok(api)
    }

    /// Sets what the file says, all but the key.
    #[must_use]
    pub fn configure(&self, mut builder: ClientBuilder) -> ClientBuilder {
        if let Some(url) = &self.base_url {
            builder = builder.base_url(url);
        }
        if let Some(path) = &self.ca_cert {
            builder = builder.ca_cert(path);
        }
        if let Some(allow) = self.allow_http {
            builder = builder.allow_http(allow);
        }
        if let Some(concurrency) = self.concurrency {
            builder = builder.concurrency(concurrency);
        }
        if let Some(rate) = self.rate_limit {
            builder = builder.rate_limit(rate);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(timeout) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(retries) = self.max_retries {
            builder = builder.max_retries(retries);
        }
        if let Some(time) = self.retry_for {
            builder = builder.retry_for(time);
        }
        builder
    }
}

/// `"auto"`, or a number with or without quotes.
fn concurrency(item: &Item<'_>) -> Result<Concurrency> {
    let why = "give \"auto\" or a number from 1 to 64";
    let text = match item.integer::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => item.text().map_err(|_| item.wrong(why))?.to_owned(),
    };
    text.parse().map_err(|_| item.wrong(why))
}

fn rate(text: &str) -> Result<Rate, String> {
    let why = "give requests in a second, minute or hour, such as 20/s, 600/min or 0.5/s";
    text.parse().map_err(|_| why.to_owned())
}

fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing is done in no time at all".to_owned()),
        time => Ok(time),
    }
}
