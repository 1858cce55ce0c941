//! `demo`: exports a generated dataset from an embedded API on a loopback port, or only serves that API.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Error, ExportOptions, ExportPlan, Location, Rate, ReadOptions, Result,
    demo::{Dataset, Options, Server},
    readback,
    text::counted,
};
use clap::Args;

use super::{global::Global, lines::Lines, progress::Screen, values};

/// Seed of the generated rows. It is fixed, so that every user gets the same rows.
const SEED: u64 = 7;
/// Folder that the demo writes to.
const FOLDER: &str = "overmind-demo";

/// Try the program without an account: export and preview a generated dataset, or serve datasets
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Only serve the datasets on a loopback port, until stopped
    #[arg(long)]
    serve: bool,
    /// Port to serve on; 0 means any free port
    #[arg(long, value_name = "PORT", default_value_t = 0, requires = "serve")]
    port: u16,
    /// Number of rows of the generated dataset
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = values::whole::<u64>)]
    rows: u64,
    /// Rows per page if the request does not give a page size
    #[arg(long, value_name = "N", default_value_t = 25, requires = "serve", value_parser = values::positive::<u32>)]
    page_size: u32,
    /// Time to wait before each answer
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = values::duration, requires = "serve")]
    latency: Duration,
    /// Answer 429 to requests above this rate, rounded up to whole requests per second, such as 20/s
    #[arg(long, value_name = "RATE", value_parser = values::rate, requires = "serve")]
    rate_limit: Option<Rate>,
    /// Also serve this file of datapoints, or of an export as JSON Lines; repeatable
    #[arg(long, value_name = "FILE.jsonl", requires = "serve", value_parser = super::path())]
    from: Vec<PathBuf>,
    /// Accept only this API key [default: any]
    #[arg(long, value_name = "KEY", requires = "serve")]
    api_key: Option<String>,
}

impl DemoArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        if self.serve { self.serve() } else { self.show(global, screen) }
    }

    fn serve(self) -> Result<()> {
        let mut datasets = Vec::new();
        for path in &self.from {
            let unreadable = |error: io::Error| Error::ConfigurationFile {
                what: "the datapoints file",
                path: path.clone(),
                source: error.into(),
            };
            datasets.push(Dataset::from_jsonl(path).map_err(unreadable)?);
        }
        datasets.push(Dataset::generated(self.rows, SEED));
        let options = Options {
            port: self.port,
            page_size: self.page_size,
            latency: self.latency,
            rate_limit: self.rate_limit.map(|rate| rate.per_second().ceil().max(1.0) as u32),
            api_key: self.api_key.clone(),
            ..Options::default()
        };
        let listed: Lines = datasets
            .iter()
            .map(|dataset| {
                let rows = counted(dataset.len(), "row");
                format!("  {}  {rows}  {}", dataset.id, dataset.name)
            })
            .collect();
        let id = datasets.first().map(|dataset| dataset.id).unwrap_or_default();
        super::block_on(async {
            let server = start(options, datasets).await?;
            let url = server.url();
            let key = self.api_key.as_deref().unwrap_or("any");
            let mut lines = Lines::one(format_args!("serving {url}"));
            lines.extend(listed);
            lines.push("try it:");
            lines.push(format_args!(
                "  OVERMIND_LAB_BASE_URL={url} OVERMIND_LAB_API_KEY={key} overmind-export export {id} -o \
                 rows.parquet"
            ));
            super::print(&lines.and("stop with Ctrl-C"))?;
            // A signal ends `--serve`. This is not an error.
            super::signals::stopped().await;
            server.stop().await;
            Ok(())
        })
    }

    fn show(self, global: &Global, screen: &Screen) -> Result<()> {
        let folder = PathBuf::from(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|source| Error::Output {
            path: folder.clone(),
            why: "cannot be created".to_owned(),
            hint: Some("run the demo in a folder that you may write to"),
            source: Some(source.into()),
        })?;
        let path = folder.join("datapoints.parquet");
        require_own(&path)?;
        let dataset = Dataset::generated(self.rows, SEED);
        let id = dataset.id;
        super::block_on(async {
            let server = start(Options::default(), vec![dataset]).await?;
            let mut connection = global.connection();
            connection.base_url = Some(server.url());
            connection.api_key = Some("demo".into());
            let client = connection.client()?;
            let (rows, url) = (counted(self.rows, "generated datapoint"), server.url());
            let lines = Lines::one(format_args!("An embedded API serves {rows} on {url}."));
            let command = format!("$ overmind-export export {id} -o {}", path.display());
            screen.say(lines.and("").and(command));
            let options = ExportOptions { overwrite: true, ..ExportOptions::new(id, &path) };
            super::export::run(client, ExportPlan::new(options)?, screen).await?;
            server.stop().await;
            Ok(())
        })?;
        let location = Location::from(path.as_path());
        let table = super::preview::table_of_export(&location, 5, &ReadOptions::default())?;
        let path = path.display();
        let mut lines = Lines::one("").and(format_args!("$ overmind-export preview {path}"));
        lines.extend(table);
        let lines = lines.and("").and("Open it:");
        let lines = lines.and(format_args!("  duckdb -c \"from '{path}' limit 5\""));
        let lines = lines.and(format_args!(
            "  python -c \"import pandas; print(pandas.read_parquet('{path}'))\""
        ));
        super::print(&lines.and(format_args!(
            "  python -c \"import polars; print(polars.read_parquet('{path}'))\""
        )))
    }
}

/// Refuses to replace a file that no demo wrote.
fn require_own(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => {
            found.map_err(Error::io("look at", path))?;
        }
    }
    let reader = readback::open(&Location::from(path), &ReadOptions::default());
    let facts = reader.ok().and_then(|reader| reader.facts);
    if facts.is_some_and(|it| {
        it.dataset.is_some()
            && it.dataset == it.count.map(|count| Dataset::generated(count, SEED).id)
    }) {
        return Ok(());
    }
    Err(Error::Output {
        path: path.to_owned(),
        why: "exists, and no demo wrote it".to_owned(),
        hint: Some("move it away, or run the demo in another folder"),
        source: None,
    })
}

async fn start(options: Options, datasets: Vec<Dataset>) -> Result<Server> {
    let port = options.port;
    Server::start(options, datasets).await.map_err(|source| Error::Output {
        path: format!("127.0.0.1:{port}").into(),
        why: "cannot start the server".to_owned(),
        hint: Some(match source.kind() {
            io::ErrorKind::Unsupported => "set the system clock",
            _ => "choose another --port, or 0 for any free one",
        }),
        source: Some(source.into()),
    })
}
