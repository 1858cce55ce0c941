//! The jobs of the soak, and edits of their configuration files.

use std::{fs, path::Path};

use fastrand::Rng;
use overmind_export::{Config, Job};

use super::data::{AGENT, id};
use crate::stores::server::{SECRET, Store};

/// Where the snapshots of a job are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder on the disk of the test.
    Roomy,
    /// A folder on a small disk, which is full in some nights.
    Small,
    Store,
}

/// A job: its name, its place, its datasets, and the other lines of its table.
struct Template {
    name: &'static str,
    place: Place,
    choice: Choice,
    keys: &'static [(&'static str, &'static str)],
}

enum Choice {
    /// The dataset at this place.
    One(usize),
    /// The dataset of [`AGENT`] with the highest version.
    Latest,
    /// All datasets of this name.
    All(&'static str),
}

/// Number of datasets.
pub(super) const DATASETS: usize = 18;

/// Jobs of the process that runs all week.
const STEADY: [Template; 13] = [
    Template {
        name: "parquet",
        place: Place::Roomy,
        choice: Choice::One(0),
        keys: &[("schedule", "'0 2 * * *'"), ("keep", "{ last = 3 }"), ("page_size", "40")],
    },
    Template {
        name: "parquet-snappy",
        place: Place::Small,
        choice: Choice::One(1),
        keys: &[
            ("schedule", "'0 2 * * *'"),
            ("compression", "'snappy'"),
            ("parquet_encoding", "'plain'"),
            ("unchanged", "'content'"),
            ("keep", "{ daily = 2 }"),
        ],
    },
    Template {
        name: "parquet-parts",
        place: Place::Roomy,
        choice: Choice::One(2),
        keys: &[
            ("schedule", "'30 1 * * *'"),
            ("timezone", "'Europe/London'"),
            ("compression", "'none'"),
            ("rows_per_file", "100"),
            ("page_size", "25"),
            ("keep", "{ last = 1, daily = 3 }"),
        ],
    },
    Template {
        name: "arrow",
        place: Place::Small,
        choice: Choice::One(3),
        keys: &[
            ("schedule", "'30 1 * * *'"),
            ("timezone", "'Europe/London'"),
            ("format", "'arrow'"),
            ("source", "'synthetic'"),
            ("keep", "{ last = 2 }"),
        ],
    },
    Template {
        name: "arrow-lz4",
        place: Place::Roomy,
        choice: Choice::One(4),
        keys: &[
            ("schedule", "'30 2 * * *'"),
            ("timezone", "'America/New_York'"),
            ("format", "'arrow'"),
            ("compression", "'lz4'"),
            ("rows_per_file", "80"),
            ("page_size", "20"),
            ("unchanged", "'never'"),
            ("keep", "{ last = 1, weekly = 1 }"),
        ],
    },
    Template {
        name: "jsonl",
        place: Place::Small,
        choice: Choice::One(5),
        keys: &[
            ("schedule", "'0 2 * * *'"),
            ("format", "'jsonl'"),
            ("unchanged", "'never'"),
            ("keep", "{ last = 2, monthly = 1 }"),
        ],
    },
    Template {
        name: "jsonl-gz",
        place: Place::Roomy,
        choice: Choice::One(6),
        keys: &[
            ("schedule", "'15 2 * * *'"),
            ("timezone", "'Europe/Berlin'"),
            ("format", "'jsonl'"),
            ("compression", "'gzip'"),
            ("json_columns", "'text'"),
            ("keep", "{ last = 2 }"),
        ],
    },
    Template {
        name: "latest",
        place: Place::Roomy,
        choice: Choice::Latest,
        keys: &[
            ("schedule", "'0 3 * * *'"),
            ("format", "'jsonl'"),
            ("compression", "'zstd'"),
            ("rows_per_file", "150"),
            ("page_size", "30"),
            ("keep", "{ last = 3, daily = 5 }"),
        ],
    },
    Template {
        name: "all",
        place: Place::Roomy,
        choice: Choice::All("eval-*"),
        keys: &[("schedule", "'0 3 * * *'"), ("compression", "'zstd:9'"), ("keep", "{ last = 2 }")],
    },
    Template {
        name: "store",
        place: Place::Store,
        choice: Choice::One(7),
        keys: &[("schedule", "'0 2 * * *'"), ("rows_per_file", "100"), ("page_size", "25")],
    },
    Template {
        name: "store-jsonl",
        place: Place::Store,
        choice: Choice::One(8),
        keys: &[
            ("schedule", "'15 2 * * *'"),
            ("timezone", "'Europe/Berlin'"),
            ("format", "'jsonl'"),
            ("unchanged", "'never'"),
            ("keep", "{ last = 2 }"),
        ],
    },
    Template {
        name: "interval",
        place: Place::Roomy,
        choice: Choice::One(9),
        keys: &[
            ("schedule", "'0 */8 * * *'"),
            ("catch_up", "false"),
            ("columns", "['id', 'input', 'order']"),
            ("unchanged", "'content'"),
            ("keep", "{ last = 4 }"),
        ],
    },
    Template {
        name: "jitter",
        place: Place::Small,
        choice: Choice::One(0),
        keys: &[
            ("schedule", "'0 3 * * *'"),
            ("jitter", "'10m'"),
            ("ordering", "'-order'"),
            ("keep", "{ last = 2 }"),
        ],
    },
];

/// Jobs of the process that is killed.
const KILLED: [Template; 7] = [
    Template {
        name: "k-parquet",
        place: Place::Small,
        choice: Choice::One(10),
        keys: &[
            ("schedule", "'0 2 * * *'"),
            ("rows_per_file", "60"),
            ("page_size", "20"),
            ("keep", "{ last = 2 }"),
        ],
    },
    Template {
        name: "k-arrow",
        place: Place::Roomy,
        choice: Choice::One(11),
        keys: &[
            ("schedule", "'30 1 * * *'"),
            ("timezone", "'Europe/London'"),
            ("format", "'arrow'"),
            ("rows_per_file", "60"),
            ("page_size", "20"),
            ("unchanged", "'never'"),
            ("keep", "{ last = 1 }"),
        ],
    },
    Template {
        name: "k-jsonl-gz",
        place: Place::Roomy,
        choice: Choice::One(2),
        keys: &[
            ("schedule", "'0 2 * * *'"),
            ("format", "'jsonl'"),
            ("compression", "'gzip'"),
            ("rows_per_file", "50"),
            ("page_size", "25"),
            ("keep", "{ last = 2, daily = 3 }"),
        ],
    },
    Template {
        name: "k-all",
        place: Place::Roomy,
        choice: Choice::All("support-*"),
        keys: &[
            ("schedule", "'30 2 * * *'"),
            ("timezone", "'America/New_York'"),
            ("unchanged", "'content'"),
            ("keep", "{ last = 2 }"),
        ],
    },
    Template {
        name: "k-store",
        place: Place::Store,
        choice: Choice::One(1),
        keys: &[
            ("schedule", "'0 3 * * *'"),
            ("rows_per_file", "60"),
            ("page_size", "20"),
            ("unchanged", "'never'"),
            ("keep", "{ last = 1 }"),
        ],
    },
    Template {
        name: "k-weekdays",
        place: Place::Roomy,
        choice: Choice::One(3),
        keys: &[
            ("schedule", "'0 12 * * mon-fri'"),
            ("timezone", "'Asia/Tokyo'"),
            ("source", "'synthetic'"),
            ("keep", "{ last = 2 }"),
        ],
    },
    Template {
        name: "k-small",
        place: Place::Small,
        choice: Choice::One(4),
        keys: &[
            ("schedule", "'15 2 * * *'"),
            ("timezone", "'Europe/Berlin'"),
            ("format", "'jsonl'"),
            ("unchanged", "'never'"),
            ("keep", "{ last = 1 }"),
        ],
    },
];

/// A configuration file: the lines of its jobs.
#[derive(Clone)]
pub(super) struct Plan {
    /// `steady` or `killed`, also the name of the root.
    pub(super) name: &'static str,
    head: String,
    jobs: Vec<PlannedJob>,
    /// Jobs that an edit has removed.
    spare: Vec<PlannedJob>,
}

#[derive(Clone)]
struct PlannedJob {
    name: &'static str,
    place: Place,
    keys: Vec<(&'static str, String)>,
}

impl Plan {
    /// The first jobs of each process; `count` is that of both.
    pub(super) fn both(count: usize, store: &Store) -> [Self; 2] {
        let killed = count * KILLED.len() / (STEADY.len() + KILLED.len());
        let plan = |name, templates: &[Template]| Self {
            name,
            head: format!(
                "[api]\napi_key_file = 'key'\nmax_retries = 8\nretry_for = '8s'\ntimeout = '20s'\n\n\
                 [defaults]\nstorage = {{ endpoint = '{}', region = 'us-east-1', \
                 access_key_id = 'AKIATEST', secret_access_key = '{SECRET}' }}\n\
                 on_result = ['./told']\n",
                store.url()
            ),
            jobs: templates.iter().map(|template| PlannedJob::new(name, template)).collect(),
            spare: Vec::new(),
        };
        let steady = count.saturating_sub(killed).clamp(1, STEADY.len());
        [
            plan("steady", &STEADY[..steady]),
            plan("killed", &KILLED[..killed.clamp(1, KILLED.len())]),
        ]
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.head.clone();
        for job in &self.jobs {
            text += &format!("\n[[job]]\nname = '{}'\n", job.name);
            for (key, value) in &job.keys {
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }

    pub(super) fn write(&self, folder: &Path) {
        fs::write(folder.join(self.file()), self.text()).unwrap();
    }

    pub(super) fn file(&self) -> String {
        format!("{}.toml", self.name)
    }

    /// The jobs as the command reads them.
    pub(super) fn parsed(&self, folder: &Path) -> Vec<Job> {
        Config::parse(&self.text(), &folder.join(self.file())).unwrap().jobs
    }

    pub(super) fn place(&self, job: &str) -> Place {
        self.jobs.iter().chain(&self.spare).find(|it| it.name == job).unwrap().place
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Changes a job, removes one, or adds the one that was removed. Returns what it did and the name of the job.
    pub(super) fn edit(&mut self, random: &mut Rng) -> (String, &'static str) {
        if let Some(job) = self.spare.pop() {
            let name = job.name;
            self.jobs.insert(random.usize(0..=self.jobs.len()), job);
            return (format!("adds {name}"), name);
        }
        let count = self.jobs.len();
        let place = random.usize(0..count);
        let job = &mut self.jobs[place];
        let name = job.name;
        match random.u32(0..4) {
            0 if count > 2 => {
                let job = self.jobs.remove(place);
                self.spare.push(job);
                (format!("removes {name}"), name)
            }
            1 => {
                let minute = random.u32(0..60);
                job.set("schedule", format!("'{minute} 4 * * *'"));
                (format!("moves {name} to {minute} past four"), name)
            }
            _ => {
                let keep =
                    format!("{{ last = {}, daily = {} }}", random.u32(1..3), random.u32(0..3));
                job.set("keep", keep.clone());
                (format!("{name} has keep = {keep}"), name)
            }
        }
    }

    /// A text of this plan with a mistake, and a part of the message about it.
    pub(super) fn broken(&self, random: &mut Rng) -> (String, &'static str) {
        let text = self.text();
        match random.u32(0..5) {
            0 => (text.replacen("schedule = '", "schedule = '61 ", 1), "it has 6 fields"),
            1 => (text.replacen("schedule =", "shedule =", 1), "did you mean"),
            2 => (text.replacen("[[job]]", "[[job]", 1), self.name),
            3 => (text.replacen("'./told'", "'./missing'", 1), "on_result of job"),
            _ => (text.replacen("'key'", "'no-key'", 1), "no-key"),
        }
    }
}

impl PlannedJob {
    fn new(process: &str, template: &Template) -> Self {
        let Template { name, place, choice, keys } = template;
        let root = match place {
            Place::Roomy => format!("'roomy/{process}'"),
            Place::Small => format!("'small/{process}'"),
            Place::Store => format!("'s3://bucket/{process}'"),
        };
        let mut all = vec![("root", root)];
        match choice {
            Choice::One(place) => all.push(("dataset", format!("'{}'", id(*place)))),
            Choice::Latest => {
                all.extend([("select", "'latest'".to_owned()), ("agent", format!("'{AGENT}'"))]);
            }
            Choice::All(names) => {
                all.extend([("select", "'all'".to_owned()), ("dataset_name", format!("'{names}'"))])
            }
        }
        all.extend(keys.iter().map(|(key, value)| (*key, (*value).to_owned())));
        Self { name, place: *place, keys: all }
    }

    fn set(&mut self, key: &'static str, value: String) {
        match self.keys.iter_mut().find(|it| it.0 == key) {
            Some(found) => found.1 = value,
            None => self.keys.push((key, value)),
        }
    }
}
