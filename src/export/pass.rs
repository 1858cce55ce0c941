//! One pass: reads the whole dataset once, stages it, and describes it in a manifest. Never publishes.

use std::{collections::BTreeMap, pin::Pin};

use tokio::{select, sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Export,
    described::ReadExport,
    handover::{QUEUED_BATCHES, forward},
    nesting::{NestedOutput, Nesting},
    nesting_options::TypeChoice,
    plan::ExportPlan,
    shaping::{InterruptOnDrop, WriterInterrupt},
    slot::DestinationSlot,
    staging::{GRACE, open},
    writer::{Finished, Writer, WriterScope},
};
use crate::{
    destination::{Drafts, Header, KeptPart},
    error::{Error, Result},
    nested::NestRules,
    paginator::{Begin, First, Ids, KeptPages, Pages, StreamOptions, full_page},
    proof::{DEFAULT_LIMIT_BYTES, PageFacts},
    record::{
        manifest::{Manifest, Part},
        written::WrittenRange,
    },
    tasks::{Worker, stopped},
};

impl Export {
    /// Runs one pass: reads everything once and stages it. The caller publishes.
    pub(super) async fn pass(
        &self,
        slot: &mut DestinationSlot,
        started_at: &str,
        mut stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<Manifest> {
        let options = &self.plan.options;
        let (stream, fresh) = (self.stream_options(), slot.get()?.is_fresh());
        let first = self.client.first_of(options.dataset, &options.query, &stream, fresh);
        let first = select! {
            first = first => first?,
            error = stop.as_mut() => return Err(error),
        };
        let plan = self.plan.fingerprint(self.client.base_url());
        let count = first.page().count();
        let header = Header { plan, count, started_at: started_at.to_owned() };
        let kept = open(slot, &header, options.restart, stop.as_mut()).await?;
        self.announce(first.page(), &kept);
        self.check_free_space(slot, first.page(), &kept).await?;

        let rows_per_page = full_page(first.page());
        let stream = stream.covering(first.page());
        let plan = self.plan.reading(&stream);
        let completeness = plan.completeness();
        let pages = self.pages(first, &kept, &BTreeMap::new(), stream);
        let grid = self.plan.part_grid(rows_per_page);
        let scope = WriterScope { count, first_row: 0, grid, is_whole: true };
        let (finished, drafts) =
            self.write(slot, plan.clone(), scope, pages, kept, stop.as_mut()).await?;
        let (finished, nested) = match drafts {
            Some(drafts) => {
                let nested = self.nest(slot, (plan, count), finished, drafts, stop).await?;
                (nested.finished, Some(nested.types))
            }
            None => {
                let types = self.plan.given_types();
                (finished, types.map(|types| self.plan.recorded_types(types)))
            }
        };
        let ranges = ranges(&finished);
        self.describe(ReadExport {
            started_at: header.started_at,
            completeness,
            count,
            rows_per_page,
            pages: finished.pages,
            rows: finished.rows,
            parts: finished.parts,
            nested,
            ranges,
            plan: None,
        })
    }

    /// Writes all pages on a thread of its own, while this task waits for them.
    pub(super) async fn write(
        &self,
        slot: &mut DestinationSlot,
        plan: ExportPlan,
        scope: WriterScope,
        mut pages: Pages,
        kept: Vec<KeptPart>,
        stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<(Finished, Option<Drafts>)> {
        let (sender, receiver) = mpsc::channel(QUEUED_BATCHES);
        let staged = slot.take()?;
        let stopper = staged.stopper();
        let mut writer = Writer::new(plan, scope, staged, kept, self.progress.clone());
        let interrupt = writer.interrupt();
        let _interrupt_on_drop = InterruptOnDrop(interrupt.clone());
        let mut writing = Worker::start("writer", "the writer", move || {
            let result = writer.run(receiver);
            (writer.into_destination(), result)
        })?;
        // Forward in a separate task. This future may be part of the future that the runtime runs directly
        // (`block_on`). Waking that future would need another thread or a poll of all sockets, for every
        // page.
        let mut forwarding =
            AbortOnDropHandle::new(tokio::spawn(async move { forward(&mut pages, sender).await }));
        let work = async {
            let forwarded = (&mut forwarding).await;
            let forwarded = forwarded.unwrap_or_else(|error| Err(stopped("the hand-over", error)));
            (forwarded, writing.join().await)
        };
        let ended = select! {
            done = work => Ok(done),
            error = stop => {
                stopper.stop();
                Err(error)
            }
            error = stopper.lost() => Err(error),
        };
        if ended.is_err() {
            interrupt.set();
        }
        drop(forwarding);
        let (forwarded, written) = match ended {
            Ok(done) => done,
            Err(error) => match timeout(GRACE, writing.join()).await {
                Ok(written) => (Err(error), written),
                // Do not wait for a store that does not answer: the next run tidies up.
                Err(_) => return Err(error),
            },
        };
        let ((staged, drafts), written) = written?;
        slot.put_back(staged);
        forwarded.and(written).map(|finished| (finished, drafts))
    }

    /// Writes the parts with nested columns from their drafts, on a thread of its own.
    async fn nest(
        &self,
        slot: &mut DestinationSlot,
        (plan, count): (ExportPlan, u64),
        drafted: Finished,
        drafts: Drafts,
        stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<NestedOutput> {
        let rules = match &plan.nesting {
            Some(TypeChoice::Found(rules)) => rules.clone(),
            _ => NestRules::default(),
        };
        let (progress, is_interrupted) = (self.progress.clone(), WriterInterrupt::default());
        let interrupt = is_interrupted.clone();
        // A caller that drops the future ends the thread.
        let _interrupt_on_drop = InterruptOnDrop(interrupt.clone());
        let nesting = Nesting { plan, rules, count, drafts, drafted, progress, is_interrupted };
        let staged = slot.take()?;
        let stopper = staged.stopper();
        let mut writing =
            Worker::start("nesting", "writing nested columns", move || nesting.run(staged))?;
        let ended = select! {
            done = writing.join() => Ok(done),
            error = stop => {
                stopper.stop();
                Err(error)
            }
            error = stopper.lost() => Err(error),
        };
        let (done, error) = match ended {
            Ok(done) => (done, None),
            Err(error) => {
                interrupt.set();
                match timeout(GRACE, writing.join()).await {
                    Ok(done) => (done, Some(error)),
                    Err(_) => return Err(error),
                }
            }
        };
        let (staged, output) = done?;
        slot.put_back(staged);
        error.map_or(output, Err)
    }

    pub(super) fn stream_options(&self) -> StreamOptions {
        let options = &self.plan.options;
        StreamOptions {
            page_size: options.page_size,
            pages: options.pages,
            limit: options.limit,
            prefetch_bytes: options.prefetch_bytes,
            ..StreamOptions::default()
        }
    }

    /// Returns the pages that were not kept. `orders` has the `order` of the first rows of some kept parts, by their first
    /// pages.
    pub(super) fn pages(
        &self,
        first: First,
        kept: &[KeptPart],
        orders: &BTreeMap<u64, Option<i64>>,
        stream: StreamOptions,
    ) -> Pages {
        let options = &self.plan.options;
        // The parts of all splits that have the same pages have the same ids.
        let kept = kept
            .iter()
            .step_by(self.plan.splits().len().max(1))
            .map(|kept| KeptPages {
                facts: PageFacts {
                    pages: kept.part.first_page..=kept.part.last_page,
                    count: first.page().count(),
                    has_next: kept.has_next,
                },
                rows: kept.part.rows_read,
                first_order: orders.get(&kept.part.first_page).copied(),
                last_order: kept.last_order,
                entry_bytes: kept.entry_bytes,
                ids: kept.ids.clone(),
            })
            .collect();
        let temp_dir = self.plan.temp_dir();
        let ids = Ids::Spilling { limit_bytes: DEFAULT_LIMIT_BYTES, temp_dir };
        let begin = Begin { first: Some(first), ids, kept };
        self.client.pages_after(begin, options.dataset, options.query.clone(), stream)
    }
}

/// The range of pages of these parts, which this run and those that it resumed have written.
fn ranges(finished: &Finished) -> Vec<WrittenRange> {
    let range = |first: &Part, last: &Part| WrittenRange {
        first_page: first.first_page,
        last_page: last.last_page,
        rows_read: finished.rows.read,
        rows: finished.rows.written,
    };
    finished
        .parts
        .first()
        .zip(finished.parts.last())
        .map(|(first, last)| range(first, last))
        .into_iter()
        .collect()
}
