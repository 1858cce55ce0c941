//! One conversion from its first row to its publication.

use std::{
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::Instant,
};

use serde_json::json;
use tokio::{select, time::timeout};

use super::{
    block::QUEUED_BLOCKS,
    nesting::types_of,
    plan::ConvertPlan,
    reader::SourceReader,
    source::SourceRows,
    summary::{ConvertDryRun, ConvertSummary},
    writer::{ConvertWriter, Converted, ReadMessage},
};
use crate::{
    destination::{self, Destination, Header},
    error::{Error, Result},
    export::{
        Progress, blocking,
        described::described_card,
        nesting_options::TypeChoice,
        now,
        slot::DestinationSlot,
        staging::{GRACE, discard, open, probe, publish},
    },
    location::Target,
    nested::{NestRules, NestedField, recorded_types},
    record::{
        manifest::{FORMAT_VERSION, Manifest, Tool},
        splits::written_splits,
    },
    sink::{Format, JsonColumns},
    tasks::Worker,
};

/// Marks the journal of a conversion.
const CONVERSION: &str = "conversion";

/// Stops the reader and the writer when it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A conversion that is ready to run.
///
/// ```
/// use overmind_export::{
///     Client, Convert, ConvertOptions, ConvertPlan, Export, ExportOptions, ExportPlan, demo,
/// };
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dataset = demo::Dataset::generated(300, 7);
/// # let id = dataset.id;
/// # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
/// # let folder = tempfile::tempdir()?;
/// # let (rows, parts) = (folder.path().join("rows.parquet"), folder.path().join("parts/"));
/// # let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
/// let exported = Export::new(client, ExportPlan::new(ExportOptions::new(id, &rows))?).run().await?;
///
/// let mut options = ConvertOptions::new(&rows, &parts);
/// options.rows_per_file = Some(100);
/// let converted = Convert::new(ConvertPlan::new(options)?).run().await?;
/// assert_eq!((converted.rows, converted.files), (300, 3));
/// // The rows are the same.
/// assert_eq!(converted.digest, exported.digest);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Convert {
    plan: ConvertPlan,
    progress: Arc<Progress>,
}

impl Convert {
    /// Creates a conversion with this plan.
    pub fn new(plan: ConvertPlan) -> Self {
        Self { plan, progress: Arc::default() }
    }

    /// Returns the counters of this conversion. They can be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Checks the output and reports what the conversion would do. Reads no rows and writes nothing.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run) about the output.
    pub async fn dry_run(&self) -> Result<ConvertDryRun> {
        self.require_no_export().await?;
        let wanted = self.plan.wanted();
        blocking(move || Destination::probe(&wanted, true).map(drop)).await?;
        let source = &self.plan.rows.source;
        Ok(ConvertDryRun {
            source: source.place.to_string(),
            output: self.plan.output.target.to_string(),
            dataset: source.origin.dataset,
            rows: source.rows,
            transform: self.plan.transform_record().cloned(),
        })
    }

    /// Runs the conversion to its end.
    ///
    /// Must run within a tokio runtime. If the caller drops the future, the conversion ends. Its staged files are
    /// deleted by the next run to this output.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the source cannot be read, or its rows are not those that it states. The other errors are
    /// those of [`Export::run`](crate::Export::run) that do not come from the API, with the same state of the output.
    pub async fn run(self) -> Result<ConvertSummary> {
        self.run_until(std::future::pending()).await
    }

    /// Runs the conversion to its end, or until `stop` resolves to an error. The conversion then ends with this error
    /// and deletes its staged files.
    ///
    /// # Errors
    /// The error of `stop`, or the same as [`run`](Self::run). If `stop` resolves during the publication, see
    /// [`Export::run_until`](crate::Export::run_until).
    pub async fn run_until(self, stop: impl Future<Output = Error>) -> Result<ConvertSummary> {
        let (begun, started_at) = (Instant::now(), now());
        let mut stop = pin!(stop);
        self.require_no_export().await?;
        let destination = probe(self.plan.wanted(), stop.as_mut()).await;
        let destination = destination.map_err(|error| self.hinted(error))?;
        let mut slot = DestinationSlot::new(destination);
        let (manifest, read) = match self.stage(&mut slot, started_at, stop.as_mut()).await {
            Ok(staged) => staged,
            Err(error) => return Err(self.give_up(slot, error).await),
        };
        let sidecar = self.plan.output.sidecar;
        let published = publish(slot.take()?, manifest.clone(), sidecar, stop).await?;
        if let Some(error) = published {
            return Err(self.hinted(error));
        }
        let output = self.plan.output.target.to_string();
        let source = self.plan.rows.source.place.to_string();
        let seconds = begun.elapsed().as_secs_f64();
        let read_digest = read.digest.to_string();
        Ok(ConvertSummary::of(&manifest, (source, read_digest), output, seconds))
    }

    /// Refuses to delete the parts of an interrupted export, unless the caller asked for it.
    async fn require_no_export(&self) -> Result<()> {
        let Target::Directory(target) = self.plan.output.target.clone() else { return Ok(()) };
        if self.plan.restart {
            return Ok(());
        }
        let looked = target.clone();
        let found = blocking(move || destination::interrupted(&looked, None)).await?;
        let is_export = |plan: &serde_json::Value| plan.get(CONVERSION).is_none();
        match found.filter(|found| found.parts > 0 && is_export(&found.plan)) {
            None => Ok(()),
            Some(_) => Err(Error::Output {
                path: target.to_path(),
                why: "an interrupted export to it can still be resumed".to_owned(),
                hint: Some(
                    "run that export again, give `restart` to delete its parts, or give another path",
                ),
                source: None,
            }),
        }
    }

    /// Reads and writes all rows, and describes them in a manifest. Also returns the rows that were read.
    async fn stage(
        &self,
        slot: &mut DestinationSlot,
        started_at: String,
        mut stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<(Manifest, SourceRows)> {
        let plan = json!({ CONVERSION: true, "tool": env!("CARGO_PKG_VERSION") });
        let header = Header { plan, count: 0, started_at };
        // The files of an earlier conversion are deleted.
        open(slot, &header, true, stop.as_mut()).await?;
        if let Some(rows) = self.plan.rows.source.rows {
            self.progress.begin(rows, 0);
        }
        let types = match &self.plan.nesting {
            None => None,
            Some(TypeChoice::Given(types)) => Some(types.clone()),
            Some(TypeChoice::Found(rules)) => {
                Some(self.find_types(rules.clone(), stop.as_mut()).await?)
            }
        };
        let types = types.map(|types| recorded_types(&types, self.plan.rescues));
        let (read, written) = self.write(slot, types.clone(), stop).await?;
        if let Some(digest) = written.unchanged.filter(|digest| *digest != read.digest) {
            let why = format!(
                "its rows have the digest {}, and {digest} when converted: its JSON is not as an export writes it",
                read.digest
            );
            // The content of a source without a record may have white space between tokens.
            if self.plan.rows.source.origin.is_recorded {
                return Err(Error::Damaged { path: self.plan.rows.source.place.to_path(), why });
            }
        }
        let mut manifest = self.manifest(header.started_at, read, written);
        manifest.nested = types;
        if self.plan.has_card {
            manifest.card = Some(described_card(&manifest)?);
        }
        Ok((manifest, read))
    }

    /// Reads all rows, to find the types of their nested columns.
    async fn find_types(
        &self,
        rules: NestRules,
        stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<Vec<NestedField>> {
        let (plan, stopped) = (self.plan.clone(), Arc::<AtomicBool>::default());
        let flag = stopped.clone();
        let mut finding =
            Worker::start("types", "the reader", move || types_of(&plan, &rules, &flag))?;
        select! {
            types = finding.join() => types?,
            error = stop => {
                stopped.store(true, Relaxed);
                // Best effort: the thread writes nothing.
                drop(timeout(GRACE, finding.join()).await);
                Err(error)
            }
        }
    }

    fn manifest(&self, started_at: String, read: SourceRows, written: Converted) -> Manifest {
        let (source, encoding) = (&self.plan.rows.source, self.plan.output.encoding);
        let origin = &source.origin;
        Manifest {
            format_version: FORMAT_VERSION,
            tool: Tool::this(),
            base_url: origin.base_url.clone(),
            dataset: origin.dataset,
            query: origin.query.clone(),
            started_at,
            finished_at: now(),
            completeness: origin.completeness(),
            count: origin.count,
            pages: 0,
            rows_per_page: 0,
            rows_read: written.rows.read,
            rows: written.rows.written,
            transform: self.plan.transform_record().cloned(),
            earlier: origin.earlier.clone(),
            converted_from: Some(source.converted_from(read, self.plan.replaces())),
            columns: self.plan.columns().cloned().collect(),
            format: encoding.format(),
            compression: encoding.compression().to_string(),
            parquet_encoding: encoding.parquet_encoding(),
            json_columns: encoding.json_columns(),
            nested: None,
            csv_bom: encoding.csv_bom(),
            csv_safe: encoding.csv_safe(),
            digest: written.rows.digest.to_string(),
            snapshot: None,
            ranges: Vec::new(),
            plan: None,
            card: None,
            splits: written_splits(&written.parts),
            parts: written.parts,
            is_of_folder: false,
        }
    }

    /// Reads and writes all rows, each on its own thread, while this task waits for them.
    async fn write(
        &self,
        slot: &mut DestinationSlot,
        types: Option<Vec<NestedField>>,
        stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<(SourceRows, Converted)> {
        let (sender, receiver) = mpsc::sync_channel(QUEUED_BLOCKS);
        let reader = self.reader();
        let is_stopped = reader.options.stop.clone();
        // A caller that drops the future ends the threads.
        let _stop_on_drop = StopOnDrop(is_stopped.clone());
        let staged = slot.take()?;
        let stopper = staged.stopper();
        let (plan, progress) = (self.plan.clone(), self.progress.clone());
        let mut writer = ConvertWriter::new(plan, staged, progress, is_stopped.clone(), types);
        let mut writing = Worker::start("writer", "the writer", move || {
            let result = writer.run(&receiver);
            // A reader that waits for room ends.
            drop(receiver);
            (writer.into_destination(), result)
        })?;
        let mut reading = Worker::start("reader", "the reader", move || {
            let sent = |message| match sender.send(message) {
                Ok(()) => ControlFlow::Continue(()),
                // The writer has failed, and reports the cause itself.
                Err(_) => ControlFlow::Break(()),
            };
            let read = reader.read(|block| sent(ReadMessage::Block(block)))?;
            if read.is_some() {
                let _ = sent(ReadMessage::End);
            }
            Ok(read)
        })?;
        let work = async {
            let read = reading.join().await;
            (read, writing.join().await)
        };
        let ended = select! {
            done = work => Ok(done),
            error = stop => {
                stopper.stop();
                Err(error)
            }
            error = stopper.lost() => Err(error),
        };
        let (read, written) = match ended {
            Ok((read, written)) => (read?, written),
            Err(error) => {
                is_stopped.store(true, Relaxed);
                match timeout(GRACE, writing.join()).await {
                    Ok(written) => (Err(error), written),
                    // Do not wait for a store that does not answer: the next run tidies up.
                    Err(_) => return Err(error),
                }
            }
        };
        let (staged, written) = written?;
        slot.put_back(staged);
        match (read, written) {
            (Ok(Some(read)), Ok(written)) => Ok((read, written)),
            // Without all rows, the writer fails, too. The error of the reader is the cause.
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(None), Ok(_)) => Err(Error::Internal("the reader ended early".to_owned())),
        }
    }

    fn reader(&self) -> SourceReader {
        let encoding = self.plan.output.encoding;
        let writes_json = encoding.format() == Format::JsonLines
            && encoding.json_columns() != Some(JsonColumns::Text);
        let mut reader = self.plan.rows.reader(writes_json, self.plan.output.temp_dir.clone());
        reader.options.stop = Arc::default();
        reader
    }

    /// Deletes the staged files. Returns the error that ended this run.
    async fn give_up(&self, slot: DestinationSlot, error: Error) -> Error {
        // A thread that did not stop in time still has the destination.
        if let Some(destination) = slot.into_inner() {
            let discarded = blocking(move || discard(destination));
            // Best effort: the next run deletes the remaining files.
            drop(timeout(GRACE, discarded).await);
        }
        self.hinted(error)
    }

    /// Adds a hint about the next run, and whether rows were already delivered.
    fn hinted(&self, error: Error) -> Error {
        match error {
            Error::Interrupted { signal, number, .. } => {
                let hint = match self.plan.output.target {
                    Target::Stdout => "the output is not complete: run the same command again",
                    _ => "nothing was written: run the same command again",
                };
                Error::Interrupted { signal, number, hint: Some(hint) }
            }
            Error::UnmatchedPath { option, path, rows, meant, .. } => {
                let delivered = self.plan.output.target == Target::Stdout;
                Error::UnmatchedPath { option, path, rows, meant, delivered }
            }
            error => error,
        }
    }
}
