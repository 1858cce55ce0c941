//! Reads the rows of an export once. Threads profile the batches, and this thread looks at what depends on their order.
//!
//! ```text
//! reader (this thread) ══► lanes (4 threads) ══► duplicates, digest and order (this thread)
//!                          batch i in lane i mod 4
//! ```
//!
//! The number of lanes is fixed, so the page does not depend on the number of cores or on how threads take turns.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use uuid::Uuid;

use super::{
    named_ids::NamedIds,
    order::OrderSeen,
    profile::{
        BatchFacts, Profile,
        nulls::NullRuns,
        odd_places::{OddPlace, odd_places},
    },
    sample::{RepeatedInput, RowSample, SampleSize, ShownRow},
    source::{ExportFacts, ReportSource},
    values::{BatchRows, RowColumns},
    wanted::{NamedRows, wanted_rows},
};
use crate::{
    batch::OutputColumn,
    error::{
        Error, Result,
        panics::{caught, message},
    },
    location::Location,
    proof::{DEFAULT_LIMIT_BYTES, Digest, Distinct, HashPairs, IdSet, PairCounts},
    readback::{ReadOptions, checked_files::RecordedRows},
    text::did_you_mean,
    transform::Shaper,
};

/// Number of threads that profile rows.
const LANES: usize = 4;
/// Batches in a lane: one that is profiled, and one that waits.
const QUEUED: usize = 2;
/// Different inputs that are remembered to find examples of duplicates: 262,144, which take 16 MiB.
const REMEMBERED: usize = 1 << 18;

/// How to read.
pub(super) struct ReadPlan {
    pub(super) size: SampleSize,
    pub(super) drop: Vec<String>,
    /// The names of the columns of the report's files that are not read. They can be dropped, too.
    pub(super) unread: Vec<String>,
    pub(super) mask: Option<Arc<Shaper>>,
    pub(super) temp_dir: PathBuf,
}

/// Everything that was seen in the rows.
pub(super) struct RowsSeen {
    /// The profile of all rows. Its sample was taken out.
    pub(super) profile: Profile,
    pub(super) rows: Vec<ShownRow>,
    pub(super) digest: Digest,
    /// The inputs, with their expected outputs.
    pub(super) inputs: PairCounts,
    /// The ids, if they were looked at.
    pub(super) repeated_ids: Distinct,
    /// Some ids that repeat.
    pub(super) examples_of_ids: Vec<String>,
    /// Values that differ from the others at their place, the rarest first.
    pub(super) odd: Vec<OddPlace>,
    /// The rows without a value, for each column.
    pub(super) nulls: Vec<NullRuns>,
    pub(super) orders: OrderSeen,
    /// Whether the rows were compared with a recorded number and digest.
    pub(super) is_checked: bool,
}

impl RowsSeen {
    /// Whether the rows have another digest than the stated one. Nested columns are read as other JSON text than the
    /// API gave.
    pub(super) fn digest_differs(&self, facts: &ExportFacts) -> bool {
        facts.digest.as_ref().is_some_and(|digest| *digest != self.digest.to_string())
    }
}

/// A batch on its way into a lane.
struct LaneWork {
    batch: RecordBatch,
    place: Location,
    /// Number of the first row, from 1.
    first_row: u64,
}

/// What a lane gives back of each batch.
struct LaneFacts {
    batch: RecordBatch,
    first_row: u64,
    facts: BatchFacts,
}

/// The threads of a profile.
struct Lanes<'s> {
    lanes: Vec<Lane<'s>>,
    /// Number of batches that were sent and received.
    sent: usize,
    received: usize,
}

struct Lane<'s> {
    batches: mpsc::SyncSender<LaneWork>,
    facts: mpsc::Receiver<LaneFacts>,
    thread: thread::ScopedJoinHandle<'s, Result<Profile>>,
}

/// Reads all rows.
///
/// # Errors
/// `Damaged` when a file cannot be read or does not match its record, `Interrupted` when the stop flag is set.
pub(super) fn read(source: &ReportSource, plan: &ReadPlan) -> Result<RowsSeen> {
    let mut batches = SourceBatches::new(source, &source.options);
    let first = batches.next().transpose()?;
    let columns = match (&source.columns, &first) {
        (None, Some((_, batch))) => columns_of(batch),
        _ => source.usual_columns(),
    };
    let has = |name: &String| {
        columns.iter().any(|column| column.name() == name) || plan.unread.contains(name)
    };
    if let Some(name) = plan.drop.iter().find(|name| !has(name)) {
        let known = columns.iter().map(OutputColumn::name);
        let meant = did_you_mean(name, known.chain(plan.unread.iter().map(String::as_str)));
        return Err(Error::Usage(format!("the export has no column {name}{meant}")));
    }
    let (counts_ids, row_bytes) = (source.facts.may_repeat_ids(), plan.size.row_bytes());
    let columns = &RowColumns::new(columns, &plan.drop, plan.mask.clone(), counts_ids, row_bytes);
    let mut ordered = OrderedRows::new(plan, columns, source.facts.leaves_out_rows());
    let profile = thread::scope(|scope| {
        let mut lanes = Lanes::start(scope, columns, plan.size)?;
        let mut first_row = 1;
        for next in first.map(Ok).into_iter().chain(&mut batches) {
            let (place, batch) = next?;
            require_columns(&batch, &columns.columns, &place)?;
            let rows = batch.num_rows() as u64;
            let sent = lanes.send(LaneWork { batch, place, first_row })?;
            sent.map_or(Ok(()), |facts| ordered.add(facts))?;
            first_row += rows;
        }
        while let Some(facts) = lanes.receive()? {
            ordered.add(facts)?;
        }
        lanes.finish()
    })?;
    let is_checked = batches.check(&ordered.digests)?;
    let OrderedRows { inputs, ids, named_ids, different, equal, odd: others, orders, .. } = ordered;
    let (digests, nulls) = (ordered.digests, ordered.nulls);
    let inputs = inputs.finish().map_err(Error::io("sort hashes in", &plan.temp_dir))?;
    let ids = ids.finish().map_err(Error::io("sort hashes in", &plan.temp_dir))?;
    let examples_of_ids = named_ids.examples(&ids);
    let mut profile = profile;
    profile.sort();
    let sample = std::mem::replace(&mut profile.sample, RowSample::new(plan.size));
    let mut digest = Digest::default();
    digests.iter().for_each(|(rows, next)| digest.join(*next, *rows));
    let odd = odd_places(&profile.columns);
    let (rows, repeated_ids) = (Vec::new(), ids);
    let mut seen = RowsSeen {
        profile,
        rows,
        digest,
        inputs,
        repeated_ids,
        examples_of_ids,
        odd,
        nulls,
        orders,
        is_checked,
    };
    let duplicates = different.into_iter().chain(equal).take(plan.size.duplicates()).collect();
    let orders = Some(&seen.orders).filter(|it| it.is_odd());
    let orders = orders.map(|it| vec![it.falls, it.gaps]).unwrap_or_default();
    let named = NamedRows { odd: &seen.odd, nulls: &seen.nulls, orders };
    let wanted = wanted_rows(&seen.profile, named);
    seen.rows = sample.finish(seen.profile.rows, (duplicates, others), &wanted);
    Ok(seen)
}

impl<'s> Lanes<'s> {
    fn start<'e>(
        scope: &'s thread::Scope<'s, 'e>,
        columns: &'s RowColumns,
        size: SampleSize,
    ) -> Result<Self> {
        let start = |_| {
            let (batches, incoming) = mpsc::sync_channel::<LaneWork>(QUEUED);
            let (outgoing, facts) = mpsc::channel();
            let mut profile = Profile::new(columns, RowSample::new(size))?;
            let work = move || {
                for LaneWork { batch, place, first_row } in incoming {
                    let facts = profile.add(&batch, columns, (&place, first_row))?;
                    // The receiver is gone if the reading has failed. Then the batches end, too.
                    let _ = outgoing.send(LaneFacts { batch, first_row, facts });
                }
                Ok(profile)
            };
            let thread = thread::Builder::new().name("profile".to_owned());
            let thread = thread
                .spawn_scoped(scope, || caught("the profile", work))
                .map_err(Error::no_thread)?;
            Ok(Lane { batches, facts, thread })
        };
        let lanes = (0..LANES).map(start).collect::<Result<_>>()?;
        Ok(Self { lanes, sent: 0, received: 0 })
    }

    /// Sends a batch to its lane. Returns the facts of an earlier batch if the lane was full.
    fn send(&mut self, batch: LaneWork) -> Result<Option<LaneFacts>> {
        let earlier = match self.sent - self.received >= LANES * QUEUED {
            true => self.receive()?,
            false => None,
        };
        let lane = self.sent % LANES;
        self.sent += 1;
        match self.lanes.get(lane).is_some_and(|lane| lane.batches.send(batch).is_ok()) {
            true => Ok(earlier),
            false => Err(self.failure(lane)),
        }
    }

    /// Waits for the facts of the next batch; `None` after the last one.
    fn receive(&mut self) -> Result<Option<LaneFacts>> {
        if self.received == self.sent {
            return Ok(None);
        }
        let lane = self.received % LANES;
        self.received += 1;
        match self.lanes.get(lane).and_then(|lane| lane.facts.recv().ok()) {
            Some(facts) => Ok(Some(facts)),
            None => Err(self.failure(lane)),
        }
    }

    /// Returns the error that ended a lane.
    fn failure(&mut self, lane: usize) -> Error {
        let ended_early = || Error::Internal("a lane of the profile ended early".to_owned());
        if lane >= self.lanes.len() {
            return ended_early();
        }
        let Lane { batches, facts, thread } = self.lanes.swap_remove(lane);
        drop((batches, facts));
        match thread.join() {
            Ok(Err(error)) => error,
            _ => ended_early(),
        }
    }

    /// Joins the profiles of the lanes, in their order.
    fn finish(self) -> Result<Profile> {
        let mut joined: Option<Profile> = None;
        for Lane { batches, facts, thread } in self.lanes {
            drop((batches, facts));
            let ended = thread.join();
            let profile =
                ended.map_err(|panic| Error::panicked("the profile", message(&*panic)))??;
            match &mut joined {
                Some(joined) => joined.join(profile)?,
                None => joined = Some(profile),
            }
        }
        joined.ok_or_else(|| Error::Internal("a profile without lanes".to_owned()))
    }
}

/// What depends on the order of the rows.
struct OrderedRows<'p> {
    columns: &'p RowColumns,
    temp_dir: &'p PathBuf,
    /// The hashes of all inputs, with those of their expected outputs.
    inputs: HashPairs,
    ids: IdSet,
    named_ids: NamedIds,
    /// The hashes of the first different inputs, each with its first row and the hash of its expected output.
    seen: HashMap<u128, (u64, u32)>,
    /// Examples of rows with an input that an earlier row has, with another expected output or with the same.
    different: Vec<ShownRow>,
    equal: Vec<ShownRow>,
    /// Examples of what is wrong with the order.
    odd: Vec<ShownRow>,
    most_duplicates: usize,
    orders: OrderSeen,
    nulls: Vec<NullRuns>,
    /// Number of rows and digest of each batch.
    digests: Vec<(u64, Digest)>,
}

impl<'p> OrderedRows<'p> {
    fn new(plan: &'p ReadPlan, columns: &'p RowColumns, is_sparse: bool) -> Self {
        Self {
            columns,
            temp_dir: &plan.temp_dir,
            inputs: HashPairs::new(IdSet::spilling(DEFAULT_LIMIT_BYTES, plan.temp_dir.clone())),
            ids: IdSet::spilling(DEFAULT_LIMIT_BYTES, plan.temp_dir.clone()),
            named_ids: NamedIds::default(),
            seen: HashMap::new(),
            different: Vec::new(),
            equal: Vec::new(),
            odd: Vec::new(),
            most_duplicates: plan.size.duplicates(),
            orders: OrderSeen::new(is_sparse),
            nulls: vec![NullRuns::default(); columns.shown.len()],
            digests: Vec::new(),
        }
    }

    fn add(&mut self, LaneFacts { batch, first_row, facts }: LaneFacts) -> Result<()> {
        for (index, order) in facts.orders {
            if self.orders.add(order, first_row + index as u64) && self.most_duplicates > 0 {
                let row = self.shown_row(&batch, (index, first_row))?;
                self.odd.push(row);
            }
        }
        self.nulls.iter_mut().zip(facts.nulls).for_each(|(own, next)| own.join(next));
        self.digests.push((facts.rows, facts.digest));
        for id in facts.ids {
            let inserted = self.ids.insert(Uuid::from_u128(id));
            inserted.map_err(Error::io("sort hashes in", self.temp_dir))?;
        }
        if !facts.named_ids.is_empty() {
            let rows = BatchRows::new(&batch, self.columns)?;
            for (index, hash) in facts.named_ids {
                self.named_ids.add(hash, || Some(rows.row(index).ok()?.id().to_owned()));
            }
        }
        for (index, pair) in facts.inputs {
            let inserted = self.inputs.insert(pair);
            inserted.map_err(Error::io("sort hashes in", self.temp_dir))?;
            // The rows with other outputs are shown first, so no row is looked for if there are enough of them.
            if self.different.len() >= self.most_duplicates {
                continue;
            }
            let number = first_row + index as u64;
            let Some((row, output)) = self.seen.get(&pair.key()).copied() else {
                if self.seen.len() < REMEMBERED {
                    self.seen.insert(pair.key(), (number, pair.value()));
                }
                continue;
            };
            let repeats = RepeatedInput { row, differs: output != pair.value() };
            let examples = if repeats.differs { &self.different } else { &self.equal };
            if examples.len() < self.most_duplicates {
                let row = self.shown_row(&batch, (index, first_row))?;
                let examples = if repeats.differs { &mut self.different } else { &mut self.equal };
                examples.push(ShownRow { repeats: Some(repeats), ..row });
            }
        }
        Ok(())
    }

    /// Returns the row with this index in a batch, whose first row has this number.
    fn shown_row(&self, batch: &RecordBatch, (index, first_row): (usize, u64)) -> Result<ShownRow> {
        let rows = BatchRows::new(batch, self.columns)?;
        // It was masked before without an error.
        let row = rows.row(index).map_err(|_| Error::Internal("a masked row".to_owned()))?;
        Ok(ShownRow::new(first_row + index as u64, &row))
    }
}

/// The batches of all files, in their order.
struct SourceBatches<'s> {
    source: &'s ReportSource,
    options: &'s ReadOptions,
    /// The batches of the file that is read.
    open: Option<Box<dyn Iterator<Item = Result<RecordBatch>>>>,
    /// Number of files that were opened.
    opened: usize,
    /// For each file: its place, what is recorded of it, and the number of batches.
    files: Vec<(Location, Option<RecordedRows>, usize)>,
}

impl<'s> SourceBatches<'s> {
    fn new(source: &'s ReportSource, options: &'s ReadOptions) -> Self {
        Self { source, options, open: None, opened: 0, files: Vec::new() }
    }

    fn read(&mut self) -> Result<Option<(Location, RecordBatch)>> {
        loop {
            self.options.go_on()?;
            let batch = self.open.as_mut().and_then(Iterator::next);
            if let (Some(batch), Some((place, _, batches))) = (batch, self.files.last_mut()) {
                *batches += 1;
                return Ok(Some((place.clone(), batch?)));
            }
            let Some(file) = self.source.files.get(self.opened) else { return Ok(None) };
            self.opened += 1;
            let (place, recorded, reader) = file.open(self.options)?;
            reader.require_columns(place)?;
            self.files.push((place.clone(), recorded, 0));
            self.open = Some(reader.batches.ahead(self.options));
        }
    }

    /// Compares the rows of each file with the recorded ones. `digests` has the rows and the digest of each batch.
    /// Returns whether all files have a record.
    fn check(&self, digests: &[(u64, Digest)]) -> Result<bool> {
        let (mut left, mut is_checked) = (digests, true);
        for (place, recorded, batches) in &self.files {
            let (own, others) = left.split_at((*batches).min(left.len()));
            left = others;
            let (mut rows, mut digest) = (0, Digest::default());
            for (count, next) in own {
                digest.join(*next, *count);
                rows += count;
            }
            match recorded {
                Some(recorded) => recorded.check(place, rows, digest)?,
                None => is_checked = false,
            }
        }
        Ok(is_checked)
    }
}

impl Iterator for SourceBatches<'_> {
    type Item = Result<(Location, RecordBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn columns_of(batch: &RecordBatch) -> Arc<[OutputColumn]> {
    let fields = batch.schema_ref().fields().iter();
    fields.filter_map(|field| OutputColumn::of_field(field)).collect()
}

/// Refuses a batch with other columns than the export.
fn require_columns(batch: &RecordBatch, columns: &[OutputColumn], place: &Location) -> Result<()> {
    let fields = batch.schema_ref().fields().iter();
    let found = fields.map(|field| {
        // A view is only another form of a text.
        let data_type = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            data_type => data_type.clone(),
        };
        (field.name().as_str(), data_type)
    });
    let expected = columns.iter().map(|it| (it.name(), it.column_type().data_type()));
    match found.eq(expected) {
        true => Ok(()),
        false => {
            let why = "its rows do not all have the same columns".to_owned();
            Err(Error::Damaged { path: place.to_path(), why })
        }
    }
}
