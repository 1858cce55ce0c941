//! The datasets of the API, how they change, and what the API held at which time.

use std::collections::BTreeSet;

use fastrand::Rng;
use overmind_export::{
    Column, Job,
    chrono::{DateTime, TimeDelta, Utc},
    demo::{Background, Dataset},
};
use uuid::Uuid;

use crate::{
    read::Table,
    rows::{self, Source},
};

/// The agent of the datasets `support-…`.
pub(super) const AGENT: Uuid = Uuid::from_u128(0x0d3f_0b52_7d5c_4c39_9a49_1f6a_5d3a_8f01);

/// The id of a dataset, by its place.
pub(super) fn id(place: usize) -> Uuid {
    Uuid::from_u128(0xa000_0000_0000_4000_8000_0000_0000_0000 + place as u128)
}

/// The rows that a dataset had for some time. No two versions of a dataset have the same number of rows: if a job
/// resumes an interrupted export, the guide promises to notice another number, not another content.
struct Version {
    wire: Vec<String>,
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

struct Held {
    id: Uuid,
    name: String,
    agent: Option<Uuid>,
    source: &'static str,
    generator: Dataset,
    /// The number of each row in the generator, and how often it was changed.
    rows: Vec<(u64, u32)>,
    versions: Vec<Version>,
}

/// All datasets.
pub(super) struct Data {
    held: Vec<Held>,
}

impl Data {
    pub(super) fn new(count: usize, random: &mut Rng, now: DateTime<Utc>) -> Self {
        let held = (0..count).map(|place| {
            // The last three belong to `select = "all"`, the three before to `select = "latest"`.
            let (name, agent) = match count - place {
                1..=3 => (format!("eval-{place}"), None),
                4..=6 => (format!("support-{place}"), Some(AGENT)),
                _ => (format!("rows-{place}"), None),
            };
            let mut held = Held {
                id: id(place),
                name,
                agent,
                source: ["production", "synthetic"][place % 2],
                generator: Dataset::generated(1 << 20, place as u64),
                rows: (0..random.u64(150..800)).map(|row| (row, 0)).collect(),
                versions: Vec::new(),
            };
            held.publish(now);
            held
        });
        Self { held: held.collect() }
    }

    pub(super) fn serve(&self, server: &Background) {
        let datasets = self.held.iter().enumerate().map(|(place, held)| {
            let wire = held.versions.last().unwrap().wire.clone();
            let mut dataset = Dataset::from_rows(&held.name, wire)
                .with_id(held.id)
                .with_source(held.source)
                .with_version(place as i64)
                .with_metadata(&format!("{{\"revision\":{}}}", held.versions.len()));
            if let Some(agent) = held.agent {
                dataset = dataset.with_agent(agent);
            }
            dataset
        });
        server.replace(datasets.collect());
    }

    /// Changes about one dataset of `one_of`.
    pub(super) fn change(&mut self, random: &mut Rng, one_of: usize, now: DateTime<Utc>) {
        for held in &mut self.held {
            if random.usize(0..one_of) == 0 {
                held.change(random);
                held.publish(now);
            }
        }
    }

    /// The rows of the version of a dataset with this number of rows, and whether the API held it at some time of a
    /// span. `None` if there is no such version.
    pub(super) fn version(
        &self,
        dataset: Uuid,
        rows: usize,
        span: (DateTime<Utc>, DateTime<Utc>),
    ) -> Option<(&[String], bool)> {
        let held = self.held.iter().find(|held| held.id == dataset)?;
        let version = held.versions.iter().find(|version| version.wire.len() == rows)?;
        // Times in files have whole seconds.
        let (begin, end) = (span.0 - TimeDelta::seconds(1), span.1 + TimeDelta::seconds(1));
        let was_held = version.from <= end && version.until.is_none_or(|until| until >= begin);
        Some((&version.wire, was_held))
    }
}

impl Held {
    fn change(&mut self, random: &mut Rng) {
        let used: BTreeSet<usize> =
            self.versions.iter().map(|version| version.wire.len()).collect();
        for _ in 0..random.u32(0..4) {
            let row = random.usize(0..self.rows.len());
            self.rows[row].1 += 1;
        }
        if self.rows.len() > 80 && random.bool() {
            let gone = random.usize(0..self.rows.len() - 40);
            self.rows.drain(gone..gone + random.usize(1..30));
        }
        loop {
            let next = self.rows.iter().map(|(row, _)| row + 1).max().unwrap_or_default();
            // In the middle, so that all later rows move to other pages.
            let place = random.usize(0..=self.rows.len());
            self.rows.insert(place, (next, 0));
            if !used.contains(&self.rows.len()) {
                return;
            }
        }
    }

    fn publish(&mut self, now: DateTime<Utc>) {
        let wire = self.rows.iter().map(|(row, revision)| {
            let text = String::from_utf8(self.generator.row(*row)).unwrap();
            let open = text.strip_suffix('}').unwrap();
            format!("{open},\"revision\":{revision}}}")
        });
        let wire = wire.collect();
        if let Some(before) = self.versions.last_mut() {
            before.until = Some(now);
        }
        self.versions.push(Version { wire, from: now, until: None });
    }
}

/// The expected content of a snapshot of these rows.
pub(super) fn expected(job: &Job, wire: &[String]) -> Table {
    let mut rows: Vec<Source> = wire.iter().map(|text| rows::parsed(text.clone())).collect();
    let order = |row: &Source| row.columns[1].as_ref().unwrap().parse::<u64>().unwrap();
    match job.query.ordering.as_deref() {
        None => {}
        Some("order") => rows.sort_by_key(order),
        Some("-order") => rows.sort_by_key(|row| std::cmp::Reverse(order(row))),
        Some(other) => panic!("{other}"),
    }
    let columns: Vec<Column> = match &job.columns {
        None => Column::ALL.to_vec(),
        Some(wanted) => {
            let named = |name: &String| Column::ALL.into_iter().find(|it| it.name() == name);
            wanted.iter().map(|name| named(name).unwrap()).collect()
        }
    };
    Table::of(&rows, &columns)
}
