//! What every subcommand takes: the connection, what is shown, what is logged.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

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
    /// The configuration file [default: overmind-export/snapshots.toml in XDG_CONFIG_HOME or
    /// ~/.config, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API lives [default: the environment, the configuration file, then
    /// https://api.overmindlab.ai]
    #[arg(long, global = true, value_name = "URL")]
    base_url: Option<String>,
    /// Read the key from the first line of this file
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file besides the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca_cert: Option<PathBuf>,
    /// Allow plain http to another machine: the key crosses the network unencrypted
    #[arg(long, global = true)]
    allow_http: bool,
    /// Requests in flight at once: auto finds what the API sustains, a number fixes it from the first
    /// moment on, before it is known how many pages there are [default: auto]
    #[arg(long, global = true, value_name = "auto|1..64", value_parser = values::concurrency)]
    concurrency: Option<Concurrency>,
    /// Start no more requests than this, such as 20/s or 600/min [default: as the API allows]
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    rate_limit: Option<Rate>,
    /// How long one request may take [default: 60s]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::timeout)]
    timeout: Option<Duration>,
    /// How long connecting may take [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::timeout)]
    connect_timeout: Option<Duration>,
    /// How often one request is retried [default: 20]
    #[arg(long, global = true, value_name = "N", value_parser = values::whole::<u64>)]
    max_retries: Option<u64>,
    /// End the run when the API does nothing but fail for this long [default: 2min, and 15s if it
    /// never answered]
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration)]
    retry_for: Option<Duration>,
    /// The largest page to accept, after decompression [default: 64MiB]
    #[arg(long, global = true, value_name = "BYTES", value_parser = values::bytes)]
    max_page_bytes: Option<usize>,
    /// Show nothing but errors
    #[arg(short, long, global = true, help_heading = "Display")]
    quiet: bool,
    /// Log what happens; twice for each request, three times for the libraries too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Display")]
    verbose: u8,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Display"
    )]
    log_format: LogFormat,
    /// auto: a bar on a terminal, a line every few seconds elsewhere, nothing with --quiet
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
    /// The configuration file: the named one, or the user's own if it is there.
    pub(super) fn config(&self) -> Result<Option<Config>> {
        Config::find(self.config.as_deref())
    }

    /// The configuration file, for what cannot be done without one.
    pub(super) fn required_config(&self) -> Result<Config> {
        self.config()?.ok_or_else(|| {
            let place = Config::default_path().map_or_else(
                || "there is no home directory to look in".to_owned(),
                |path| format!("there is no {}", path.display()),
            );
            Error::NoConfiguration { why: place }
        })
    }

    /// The connection, from flags, then the environment, then the configuration file.
    pub(super) fn client(&self) -> Result<Client> {
        self.client_of(self.config()?.as_ref())
    }

    /// Likewise, where the configuration has been read already.
    pub(super) fn client_of(&self, config: Option<&Config>) -> Result<Client> {
        let file = config.map(|config| config.api.clone()).unwrap_or_default();
        self.connection().or(Connection::from_env()).or(file).client()
    }

    /// What the flags say about the connection.
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

    /// What standard error shows; starts logging, of what happens too where that is the output.
    pub(super) fn screen(&self, logs: bool) -> Screen {
        let shown = match self.progress {
            ShowWhen::Always => true,
            ShowWhen::Auto => !self.quiet,
            ShowWhen::Never => false,
        };
        let screen = Screen::new(shown, self.quiet);
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
        let json = matches!(self.log_format, LogFormat::Json);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(screen.writer(json))
            .with_ansi(std::io::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(filter);
        // A second start, which only tests could make, keeps the first.
        drop(match self.log_format {
            LogFormat::Text => {
                // What a field holds may come from a server or a file: it stays on its line.
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
