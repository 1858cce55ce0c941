//! The options of every subcommand: connection, progress and logging.

use std::{path::PathBuf, time::Duration};

use crate::{ApiKey, Client, Concurrency, Config, Connection, Error, Rate, Result, text::line};
use clap::{Args, ValueEnum};
use tracing_subscriber::{
    field::MakeExt, filter::Targets, fmt::format::debug_fn, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{progress::Screen, values};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Global {
    /// Configuration file [default: overmind-export/snapshots.toml in XDG_CONFIG_HOME or
    /// ~/.config, if it exists]
    #[arg(long, global = true, value_name = "FILE", value_parser = super::path())]
    config: Option<PathBuf>,
    /// Base URL of the API [default: from the environment, then from the configuration file, then
    /// https://api.overmindlab.ai]
    #[arg(long, global = true, value_name = "URL")]
    base_url: Option<String>,
    /// Read the API key from the first line of this file
    #[arg(long, global = true, value_name = "FILE", value_parser = super::path())]
    api_key_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file, in addition to those of the system
    #[arg(long, global = true, value_name = "FILE", value_parser = super::path())]
    pub(super) ca_cert: Option<PathBuf>,
    /// Allow plain http to another machine. The API key then crosses the network unencrypted
    #[arg(long, global = true)]
    allow_http: bool,
    /// Requests in flight at the same time: auto adapts to the API; a number applies from the start,
    /// before the number of pages is known [default: auto]
    #[arg(long, global = true, value_name = "auto|1..64", value_parser = values::concurrency)]
    concurrency: Option<Concurrency>,
    /// Maximum rate of requests, such as 20/s or 600/min [default: as many as the API allows]
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    rate_limit: Option<Rate>,
    /// Time limit for one request, body included [default: 60s]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::timeout)]
    timeout: Option<Duration>,
    /// Time limit for connecting [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::timeout)]
    connect_timeout: Option<Duration>,
    /// Maximum number of retries of one request [default: 20]
    #[arg(long, global = true, value_name = "N", value_parser = values::whole::<u64>)]
    max_retries: Option<u64>,
    /// Retry time limit: end the run when all requests have failed for this long [default: 2min; 15s if
    /// the API never answered]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration)]
    retry_for: Option<Duration>,
    /// Largest page to accept, after decompression [default: 64MiB]
    #[arg(long, global = true, value_name = "BYTES", value_parser = values::bytes)]
    max_page_bytes: Option<usize>,
    /// Show only errors
    #[arg(short, long, global = true, help_heading = "Display")]
    quiet: bool,
    /// Log the main events; -vv logs each request too, -vvv also the libraries
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Display")]
    verbose: u8,
    /// Format of standard error: text, or one JSON object a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Display"
    )]
    log_format: LogFormat,
    /// When to show progress; auto: a bar on a terminal, a line every 5 seconds elsewhere, nothing
    /// with --quiet
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Display"
    )]
    progress: ShowWhen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowWhen {
    Auto,
    Always,
    Never,
}

impl Global {
    /// Reads the configuration file: the named one, or the user's own if it exists.
    pub(super) fn config(&self) -> Result<Option<Config>> {
        Config::find(self.config.as_deref())
    }

    /// Reads the configuration file for a command that needs one.
    ///
    /// # Errors
    ///
    /// `NoConfiguration` if there is no file.
    pub(super) fn required_config(&self) -> Result<Config> {
        self.config()?.ok_or_else(|| {
            let place = Config::default_path().map_or_else(
                || "there is no home directory to look in".to_owned(),
                |path| format!("there is no {}", path.display()),
            );
            Error::NoConfiguration { why: place }
        })
    }

    /// Creates a client. Each setting comes from the flags, or else from the environment, or else from the
    /// configuration file.
    pub(super) fn client(&self) -> Result<Client> {
        self.client_of(self.config()?.as_ref())
    }

    /// Does the same as [`Self::client`] with a configuration that was already read.
    pub(super) fn client_of(&self, config: Option<&Config>) -> Result<Client> {
        let file = config.map(|config| config.api.clone()).unwrap_or_default();
        self.connection().or(Connection::from_env()).or(file).client()
    }

    /// Creates a client that keeps to its share of the rate limit, which this number of workers divide.
    pub(super) fn client_sharing(
        &self,
        config: Option<&Config>,
        share: Option<u32>,
    ) -> Result<Client> {
        let file = config.map(|config| config.api.clone()).unwrap_or_default();
        let mut connection = self.connection().or(Connection::from_env()).or(file);
        if let Some(workers) = share {
            let rate = connection.rate_limit.ok_or_else(|| {
                let why = "--share divides a rate among workers: give --rate-limit, such as 20/s";
                Error::Usage(why.to_owned())
            })?;
            connection.rate_limit = Some(rate.divided(workers));
        }
        connection.client()
    }

    /// The connection settings from the flags alone.
    pub(super) fn connection(&self) -> Connection {
        let origin = |path: &PathBuf| format!("the file {} (--api-key-file)", path.display());
        Connection {
            base_url: self.base_url.clone(),
            api_key: self.api_key_file.clone().map(ApiKey::File),
            api_key_origin: self.api_key_file.as_ref().map(origin),
            ca_cert: self.ca_cert.clone(),
            allow_http: self.allow_http.then_some(true),
            concurrency: self.concurrency,
            rate_limit: self.rate_limit,
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            max_retries: self.max_retries,
            retry_for: self.retry_for,
            max_page_bytes: self.max_page_bytes,
            ..Connection::default()
        }
    }

    /// Whether standard error gets one JSON object a line, and no other text.
    pub(super) fn logs_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }

    /// Creates the output on standard error and starts logging. `logs` raises the level to `INFO` at least, for
    /// commands whose output is the log.
    pub(super) fn screen(&self, logs: bool) -> Screen {
        let shown = match self.progress {
            ShowWhen::Always => true,
            ShowWhen::Auto => !self.quiet,
            ShowWhen::Never => false,
        };
        let screen = Screen::new(shown, self.quiet, self.logs_json());
        self.start_logging(&screen, logs);
        screen
    }

    fn start_logging(&self, screen: &Screen, logs: bool) {
        use tracing::level_filters::LevelFilter;
        let ours = match (self.quiet, self.verbose.max(logs.into())) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        };
        let others = if self.verbose > 2 { LevelFilter::TRACE } else { LevelFilter::WARN };
        let filter = Targets::new().with_target("overmind_export", ours).with_default(others);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(screen.writer())
            .with_ansi(console::colors_enabled_stderr());
        let registry = tracing_subscriber::registry().with(filter);
        // If logging was started before, which only happens in tests, the first start stays in effect.
        drop(match self.log_format {
            LogFormat::Text => {
                // The value of a field may come from a server or a file. Escape it so that it stays on one line.
                let fields = debug_fn(|writer, field, value| match field.name() {
                    "message" => write!(writer, "{}", line(format_args!("{value:?}"))),
                    name => write!(writer, "{name}={}", line(format_args!("{value:?}"))),
                });
                let lines = lines.fmt_fields(fields.delimited(" "));
                registry.with(lines.with_target(false)).try_init()
            }
            LogFormat::Json => registry.with(lines.json()).try_init(),
        });
    }
}
