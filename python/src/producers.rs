//! The threads that produce the batches of a stream: from a dataset, or from an export.
//!
//! A channel with room for one batch holds a producer back when its consumer is slower (back-pressure).

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, SyncSender, sync_channel},
    },
    time::Instant,
};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use overmind_export::{
    Batches, Column, Completeness, Digest, Error, Location, OutputColumn, Progress, ReadOptions,
    Sink, StatedFacts, Transform, TransformedBatches, Written, digest, schema, write_transformed,
};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    errors::raised,
    options::{Options, dataset_id},
    stream::{Message, Stream, StreamState, locked},
    summary::{ReadFacts, warned},
    wait::receive,
    worker::{Stop, Stopper, block_on_until, spawn},
};

/// Number of batches that wait for the consumer.
const QUEUED_BATCHES: usize = 1;

/// Starts the thread that produces the messages of a stream.
fn produce(
    name: &str,
    work: impl FnOnce(&SyncSender<Message>, Stop) -> Result<ReadFacts, Error> + Send + 'static,
) -> Result<(Receiver<Message>, Stopper), Error> {
    let (sender, receiver) = sync_channel(QUEUED_BATCHES);
    let (stopper, stop) = Stop::pair();
    spawn(name, move || {
        let end = work(&sender, stop);
        // Sending fails only if the consumer has closed the stream.
        drop(sender.send(Message::End(end.map(Box::new))));
    })?;
    Ok((receiver, stopper))
}

/// The digest and the number of the rows so far.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    digest: Digest,
    rows: u64,
}

impl Totals {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let rows = batch.num_rows() as u64;
        self.digest.join(digest(batch)?, rows);
        self.rows += rows;
        Ok(())
    }
}

/// Sends batches to the consumer, and adds them up.
struct ChannelSink {
    sender: SyncSender<Message>,
    totals: Arc<Mutex<Totals>>,
}

impl Sink for ChannelSink {
    fn write(&mut self, batch: RecordBatch) -> Result<(), Error> {
        locked(&self.totals).add(&batch)?;
        self.sender.send(Message::Batch(batch)).map_err(|_| closed())
    }

    fn finish(self: Box<Self>, _facts: Option<&str>) -> Result<Written, Error> {
        Ok(Written { rows: locked(&self.totals).rows, bytes: 0 })
    }

    fn abort(self: Box<Self>) {}
}

/// The error of a producer whose consumer closed the stream. Nobody sees it.
fn closed() -> Error {
    Error::sink("the stream was closed")
}

/// Begins to read a dataset.
#[pyfunction]
pub(crate) fn stream_dataset<'py>(
    py: Python<'py>,
    dataset: &str,
    options: Bound<'py, PyDict>,
) -> PyResult<Stream> {
    let options = Options::of_call(options);
    let id = dataset_id(py, "dataset", dataset)?;
    let plan = options.transform_plan()?;
    let (query, bounds, client) = (options.query()?, options.stream()?, options.client()?);
    let planned = options.page_plan()?;
    let schema = plan.schema();
    let mut watch = options.watch_with(Some(client.clone()), Arc::default())?;
    // The bar counts the rows that are read, also those that are not kept.
    watch.counts_pages |= plan.record().is_some();
    let (rows, counts_pages) = (watch.rows.clone(), watch.counts_pages);
    let producing = produce("overmind-read", move |sender, stop| {
        let started = Instant::now();
        let totals = Arc::<Mutex<Totals>>::default();
        let sink = ChannelSink { sender: sender.clone(), totals: totals.clone() };
        let (mut seen, mut number) = (None, 0);
        let reader = client.dataset(id).query(query).options(bounds.clone());
        let pages = match planned {
            Some(plan) => plan.read(reader, bounds.pages).left_stream(),
            None => reader.pages().right_stream(),
        };
        let pages = pages.inspect_ok(|page| {
            seen.get_or_insert_with(|| {
                rows.begin(bounds.rows(page), 0);
                (page.count(), bounds.covers(page))
            });
            number += 1;
            if counts_pages {
                rows.add_rows(page.len() as u64);
            }
        });
        let done = block_on_until(write_transformed(pages, &plan, Box::new(sink)), stop)?;
        let (count, is_whole) =
            seen.map_or((None, false), |(count, is_whole)| (Some(count), is_whole));
        let (totals, meter) = (*locked(&totals), client.meter());
        Ok(ReadFacts {
            dataset: Some(id.to_string()),
            rows: totals.rows,
            rows_read: Some(done.rows_read),
            failed_rows: Some(done.failed_rows),
            transform: plan.record().cloned(),
            duplicate_rows: Some(done.duplicate_rows),
            replaced_rows: Some(done.replaced_rows),
            missing: Some(warned(&done.missing, totals.rows)),
            count,
            completeness: Some(if is_whole { Completeness::Proven } else { Completeness::Partial }),
            digest: Some(totals.digest.to_string()),
            pages: Some(number),
            requests: Some(meter.requests()),
            retries: Some(meter.retries()),
            received_bytes: Some(meter.bytes()),
            seconds: started.elapsed().as_secs_f64(),
        })
    });
    let (receiver, stopper) = producing.map_err(|error| raised(py, &error))?;
    Ok(Stream(StreamState::new(py, schema, receiver, stopper, watch)))
}

/// Begins to read an export. Returns after the export was opened.
#[pyfunction]
pub(crate) fn stream_export<'py>(
    py: Python<'py>,
    location: Bound<'py, PyAny>,
    options: Bound<'py, PyDict>,
) -> PyResult<Stream> {
    let options = Options::of_call(options);
    let location = place(&location, &options)?;
    let reading = options.reading()?;
    let (transform, drop_columns) = (options.transform()?, options.dropped()?);
    let watch = options.watch_with(None, Arc::default())?;
    let rows = watch.rows.clone();
    let (opened, opening) = mpsc::channel();
    let producing = produce("overmind-open", move |sender, stop| {
        let started = Instant::now();
        if transform != Transform::new() || !drop_columns.is_empty() {
            let mut reading = reading;
            reading.stop = stop.flag();
            let batches = TransformedBatches::open(&location, &reading, &transform, &drop_columns);
            return send_transformed(batches, sender, &opened, (&rows, started));
        }
        let open = open(&location, &reading).and_then(|(schema, first, batches)| {
            let places = places(&schema, &reading.columns)?;
            let schema = schema.project(&places).map_err(unprojected)?;
            Ok((Arc::new(schema), places, first, batches))
        });
        let (schema, places, first, batches) = match open {
            Ok(open) => open,
            Err(error) => {
                drop(opened.send(Err(error)));
                return Ok(ReadFacts::default());
            }
        };
        drop(opened.send(Ok(schema)));
        let mut facts = ReadFacts::of_export(batches.facts());
        // JSON Lines without a record do not say how many rows they have.
        let stated = batches.facts().cloned();
        if let Some(stated) = &stated {
            rows.begin(stated.rows, 0);
        }
        let mut totals = Totals::default();
        for batch in first.into_iter().map(Ok).chain(batches) {
            let batch = batch?.project(&places).map_err(unprojected)?;
            totals.add(&batch)?;
            sender.send(Message::Batch(batch)).map_err(|_| closed())?;
        }
        let digest = totals.digest.to_string();
        // The digest is of all columns of the export.
        let is_whole = reading.columns.is_empty();
        let differs = |stated: &StatedFacts| {
            totals.rows != stated.rows || is_whole && digest != stated.read_digest
        };
        // That of the content, which the rows of nested columns have in another form.
        let of_content = stated.as_ref().filter(|_| is_whole).map(|stated| stated.digest.clone());
        if let Some(stated) = stated.filter(differs) {
            let why = format!(
                "{} rows with the digest {digest}, recorded {} and {}",
                totals.rows, stated.rows, stated.read_digest
            );
            return Err(Error::Damaged { path: PathBuf::from(location.to_string()), why });
        }
        facts.rows = totals.rows;
        facts.digest = of_content.or(Some(digest));
        facts.seconds = started.elapsed().as_secs_f64();
        Ok(facts)
    });
    let (receiver, stopper) = producing.map_err(|error| raised(py, &error))?;
    let (schema, stopper) = receive(py, opening, stopper, &watch)?;
    Ok(Stream(StreamState::new(py, schema, receiver, stopper, watch)))
}

/// Sends the rows of an export that a transformation keeps.
fn send_transformed(
    batches: Result<TransformedBatches, Error>,
    sender: &SyncSender<Message>,
    opened: &mpsc::Sender<Result<SchemaRef, Error>>,
    (rows, started): (&Progress, Instant),
) -> Result<ReadFacts, Error> {
    let mut batches = match batches {
        Ok(batches) => batches,
        Err(error) => {
            drop(opened.send(Err(error)));
            return Ok(ReadFacts::default());
        }
    };
    drop(opened.send(Ok(batches.schema())));
    if let (None, Some(all)) = (batches.record(), batches.source_rows()) {
        rows.begin(all, 0);
    }
    let mut totals = Totals::default();
    for batch in &mut batches {
        let batch = batch?;
        totals.add(&batch)?;
        sender.send(Message::Batch(batch)).map_err(|_| closed())?;
    }
    let read = batches.totals();
    Ok(ReadFacts {
        dataset: batches.dataset().map(|id| id.to_string()),
        rows: totals.rows,
        rows_read: Some(read.rows_read),
        failed_rows: Some(read.failed_rows),
        transform: batches.record().cloned(),
        duplicate_rows: Some(read.duplicate_rows),
        replaced_rows: Some(read.replaced_rows.clone()),
        missing: Some(warned(&read.missing, totals.rows)),
        // `batches` is an iterator, too, which counts its items.
        count: TransformedBatches::count(&batches),
        completeness: batches.dataset().map(|_| batches.completeness()),
        digest: Some(totals.digest.to_string()),
        seconds: started.elapsed().as_secs_f64(),
        ..ReadFacts::default()
    })
}

/// Opens an export. Returns the schema, and the first batch if only the rows name the columns.
fn open(
    location: &Location,
    options: &ReadOptions,
) -> Result<(SchemaRef, Option<RecordBatch>, Batches), Error> {
    let mut batches = Batches::open_with(location, options)?;
    let (schema, first) = match batches.columns() {
        Some(columns) => (OutputColumn::schema(columns), None),
        None => match batches.next().transpose()? {
            Some(batch) => (batch.schema(), Some(batch)),
            // Without a row every column is possible.
            None => {
                let columns = Column::ALL.into_iter().filter(|it| {
                    options.columns.is_empty()
                        || options.columns.iter().any(|name| name == it.name())
                });
                (schema(&columns.collect::<Vec<_>>()), None)
            }
        },
    };
    let missing = options.columns.iter().find(|name| schema.index_of(name).is_err());
    let Some(column) = missing else { return Ok((schema, first, batches)) };
    // It names the columns, and the one that was probably meant.
    match TransformedBatches::open(location, options, &Transform::new(), &[]) {
        Err(error) => Err(error),
        Ok(_) => Err(Error::Usage(format!("{location} has no column {column}"))),
    }
}

/// Returns the places of the columns in the order in which they were asked for; all if none was.
fn places(schema: &Schema, names: &[String]) -> Result<Vec<usize>, Error> {
    if names.is_empty() {
        return Ok((0..schema.fields().len()).collect());
    }
    names.iter().map(|name| schema.index_of(name).map_err(unprojected)).collect()
}

fn unprojected(error: ArrowError) -> Error {
    Error::Internal(format!("columns: {error}"))
}

/// Returns the place of an export.
pub(crate) fn place(location: &Bound<'_, PyAny>, options: &Options<'_>) -> PyResult<Location> {
    let path: PathBuf = location.extract()?;
    let storage = options.storage()?;
    Location::of(path, &storage).map_err(|error| raised(location.py(), &error))
}
