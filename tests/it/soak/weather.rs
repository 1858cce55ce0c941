//! What goes wrong while a group of jobs runs, and with which exit codes their runs may end.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fastrand::Rng;
use overmind_export::demo::{Background, Fault, FaultAttempt::Always, FaultPage, Faults};

use super::jobs::Place;
use crate::stores::server::{Fate, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Calm,
    /// Some answers take longer than others.
    Slow,
    /// Errors and damaged answers that a retry overcomes.
    Rough,
    /// 429 with `Retry-After`.
    Limited,
    /// The API answers nothing but 503.
    Outage,
    /// Pages of other rows.
    Wrong,
    /// Datasets change while they are exported.
    Shifting,
    /// The small disk becomes full.
    FullDisk,
    /// The store fails at times, or loses an answer.
    StoreHiccups,
    /// The store refuses every request.
    StoreRefuses,
}

use Weather::{
    Calm, FullDisk, Limited, Outage, Rough, Shifting, Slow, StoreHiccups, StoreRefuses, Wrong,
};

impl Weather {
    pub(super) fn random(random: &mut Rng, has_small_disk: bool) -> Self {
        let all = [
            Calm,
            Calm,
            Slow,
            Rough,
            Rough,
            Limited,
            Outage,
            Wrong,
            Wrong,
            Shifting,
            Shifting,
            FullDisk,
            FullDisk,
            StoreHiccups,
            StoreHiccups,
            StoreRefuses,
        ];
        match all[random.usize(0..all.len())] {
            FullDisk if !has_small_disk => Calm,
            weather => weather,
        }
    }

    /// The exit codes that a run may end with.
    pub(super) fn codes(self, place: Place) -> &'static [u8] {
        match (self, place) {
            (Outage, _) => &[69],
            (Wrong | Shifting, _) => &[0, 65],
            (FullDisk, Place::Small) => &[0, 73, 74],
            (StoreRefuses, Place::Store) => &[73, 74],
            _ => &[0],
        }
    }

    /// Whether a run may be unable to add its line to the history.
    pub(super) fn may_lose_line(self, place: Place) -> bool {
        matches!((self, place), (FullDisk, Place::Small) | (StoreRefuses, Place::Store))
    }

    pub(super) fn begin(self, server: &Background, store: &Store, random: &mut Rng) {
        let seed = random.u64(..);
        let faults = match self {
            Slow => {
                let late = |ms| Fault::Delay(Duration::from_millis(ms));
                Faults::random(seed, 0.3, [late(10), late(60), late(250)])
            }
            Rough => Faults::random(seed, 0.06, rough()),
            Limited => {
                let busy = Fault::status(429);
                let second = busy.clone().header("Retry-After", "1");
                Faults::random(seed, 0.03, [busy, second])
            }
            Outage => [FaultPage::Any, FaultPage::List]
                .into_iter()
                .fold(Faults::none(), |faults, page| faults.on(page, Always, Fault::status(503))),
            Wrong => Faults::random(seed, 0.03, wrong(random)),
            _ => Faults::none(),
        };
        server.set_faults(faults);
        match self {
            StoreHiccups => {
                for method in ["PUT /bucket", "GET /bucket", "POST /bucket", "DELETE /bucket"] {
                    let fate = match random.u32(0..3) {
                        0 => Fate::FailsFirst(random.u32(1..4), 503),
                        1 => Fate::RefusedAt(random.u32(1..20), 500, "InternalError"),
                        _ => Fate::AnswerLost,
                    };
                    store.rule(method, fate);
                }
            }
            StoreRefuses => store.rule("/bucket", Fate::Refused(403, "AccessDenied")),
            _ => {}
        }
    }

    pub(super) fn end(server: &Background, store: &Store) {
        server.set_faults(Faults::none());
        store.no_rules();
    }
}

fn rough() -> Vec<Fault> {
    vec![
        Fault::status(408),
        Fault::status(500),
        Fault::status(502),
        Fault::status(503),
        Fault::status(503).header("Retry-After", "1"),
        Fault::ResetBeforeHeaders,
        Fault::CutBody { after: 300 },
        Fault::CutBody { after: 0 },
        Fault::TruncatedJson,
        Fault::Html,
        Fault::field(0, "order", "[]"),
        Fault::missing_field(0, "id"),
    ]
}

fn wrong(random: &mut Rng) -> Vec<Fault> {
    vec![
        Fault::Count(random.u64(1..400)),
        Fault::RepeatPage(random.u64(1..4)),
        Fault::SwapPage(random.u64(1..4)),
        Fault::ShortPage(random.usize(1..5)),
        Fault::ShiftRows(random.u64(1..5)),
        Fault::DropNext,
    ]
}

/// The small disk, with the file that fills it.
pub(super) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it at `small` in this folder.
    pub(super) fn mount(folder: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs", "small"]).current_dir(folder);
        assert!(mount.status().unwrap().success());
        Self { folder: folder.join("small") }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Fills it, and leaves about `spare` bytes free.
    pub(super) fn fill(&self, spare: u64) {
        let mut file = File::create(self.filler()).unwrap();
        let block = vec![0; 4096];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let full = file.metadata().unwrap().len();
        file.set_len(full.saturating_sub(spare)).unwrap();
    }

    pub(super) fn free(&self) {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}
