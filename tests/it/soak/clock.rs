//! The clock of the processes that the soak starts. The test sets it; between two settings it runs at normal speed.
//! The processes are the real command: a library in front of the C library adds to the time of the system.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicI64, Ordering},
};

use overmind_export::{
    Clock, SystemClock,
    chrono::{DateTime, TimeDelta, Utc},
};

pub(super) struct DrivenClock {
    library: &'static Path,
    path: PathBuf,
    file: File,
    /// Nanoseconds that the clock is fast.
    fast: AtomicI64,
}

impl DrivenClock {
    /// A clock that starts at this time. Its file is in the folder.
    pub(super) fn new(folder: &Path, start: DateTime<Utc>) -> Self {
        let library = crate::process::faults().expect("the soak needs cc and the GNU C library");
        let path = folder.join("clock");
        let file = File::create_new(&path).unwrap();
        let clock = Self { library, path, file, fast: AtomicI64::new(0) };
        clock.set(start);
        clock
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::nanoseconds(self.fast.load(Ordering::Relaxed))
    }

    fn set(&self, time: DateTime<Utc>) {
        let fast = (time - SystemClock.now()).num_nanoseconds().unwrap();
        self.file.write_all_at(&fast.to_ne_bytes(), 0).unwrap();
        self.fast.store(fast, Ordering::Relaxed);
    }

    /// Sets the clock to a later time. An earlier time changes nothing.
    pub(super) fn forward_to(&self, time: DateTime<Utc>) {
        if time > self.now() {
            self.set(time);
        }
    }

    /// Gives this clock to a command.
    pub(super) fn drive(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.library).env("FAULT_CLOCK_FILE", &self.path);
    }
}
