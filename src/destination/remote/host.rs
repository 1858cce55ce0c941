//! The identity of a process, in a form that another process can compare with its own machine.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// Tokens of the active runs in this process. A live process may have abandoned an earlier run.
static ACTIVE_RUNS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The identity of a process. Linux provides all fields; other systems provide only the process id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    host: String,
    /// Boot id, which changes when the machine starts.
    boot: Option<String>,
    /// PID namespace in which `pid` is valid: a container has its own.
    namespace: Option<String>,
    /// User id of the process. Some systems hide the processes of other users.
    user: Option<u32>,
    pid: u32,
    /// Start time in clock ticks after boot. A process id is reused; the pair of id and start time is not.
    started: Option<u64>,
}

/// Whether the process of a lock's holder is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HolderStatus {
    Alive,
    Gone,
    /// The process is on another machine or in another container, or this system does not provide the
    /// information.
    Unknown,
}

impl Process {
    pub(super) fn this() -> Self {
        let text = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        let namespace = fs::read_link("/proc/self/ns/pid").ok();
        let pid = std::process::id();
        Self {
            host: text("/proc/sys/kernel/hostname").unwrap_or_default(),
            boot: text("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.map(|link| link.to_string_lossy().into_owned()),
            user: user(),
            pid,
            started: running_since(pid),
        }
    }

    /// Whether the process is still alive and the run with this token is still active.
    pub(super) fn status(&self, token: &str) -> HolderStatus {
        self.status_by(token, running_since)
    }

    fn status_by(&self, token: &str, running_since: impl Fn(u32) -> Option<u64>) -> HolderStatus {
        let this = Self::this();
        let place = |it: &Self| (it.host.clone(), it.boot.clone(), it.namespace.clone());
        if this.boot.is_none() || this.namespace.is_none() || place(&this) != place(self) {
            return HolderStatus::Unknown;
        }
        let alive = match self.started {
            None => return HolderStatus::Unknown,
            started if *self == this => started.is_some() && active_runs().contains(token),
            started => match running_since(self.pid) {
                // The process may be hidden. On such a system, process 1 is hidden as well.
                None if self.user != this.user && running_since(1).is_none() => {
                    return HolderStatus::Unknown;
                }
                now => now == started,
            },
        };
        if alive { HolderStatus::Alive } else { HolderStatus::Gone }
    }
}

/// Marks a run as active in this process until it is dropped.
#[derive(Debug)]
pub(super) struct ActiveRun(String);

impl ActiveRun {
    pub(super) fn begin(token: &str) -> Self {
        active_runs().insert(token.to_owned());
        Self(token.to_owned())
    }
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        active_runs().remove(&self.0);
    }
}

fn active_runs() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    ACTIVE_RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Id of the user of this process.
fn user() -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some(fs::metadata("/proc/self").ok()?.uid())
    }
    #[cfg(not(unix))]
    None
}

/// Start time of a running process in clock ticks after boot. `None` if it has ended, also for a zombie.
fn running_since(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name, in parentheses, can contain any character.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_only_with_an_active_run() {
        let this = Process::this();
        assert_eq!(this.status("some-run"), HolderStatus::Gone);
        let active = ActiveRun::begin("some-run");
        assert_eq!(this.status("some-run"), HolderStatus::Alive);
        drop(active);
        assert_eq!(this.status("some-run"), HolderStatus::Gone);
    }

    #[test]
    fn another_process_is_matched_by_start_time() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id();
        let process = Process { pid, started: running_since(pid), ..Process::this() };
        assert_eq!(process.status("x"), HolderStatus::Alive);
        let reborn = Process { started: process.started.map(|at| at - 1), ..process.clone() };
        assert_eq!(reborn.status("x"), HolderStatus::Gone);
        child.kill().unwrap();
        // The child has ended and is a zombie until `wait`.
        while running_since(pid).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(process.status("x"), HolderStatus::Gone);
        child.wait().unwrap();
    }

    #[test]
    fn hidden_process_of_another_user_is_unknown() {
        let this = Process::this();
        let mine = Process { pid: this.pid + 1, ..this.clone() };
        let theirs = Process { user: this.user.map(|user| user + 1), ..mine.clone() };
        let hidden = |_| None;
        let open = |pid| (pid == 1).then_some(0);
        assert_eq!(theirs.status_by("x", hidden), HolderStatus::Unknown);
        assert_eq!(theirs.status_by("x", open), HolderStatus::Gone);
        assert_eq!(theirs.status_by("x", |_| this.started), HolderStatus::Alive);
        assert_eq!(mine.status_by("x", hidden), HolderStatus::Gone);
    }

    #[test]
    fn other_machine_boot_or_container_is_unknown() {
        let this = Process::this();
        let others = [
            Process { host: "elsewhere".to_owned(), ..this.clone() },
            Process { boot: Some("another".to_owned()), ..this.clone() },
            Process { namespace: Some("pid:[1]".to_owned()), ..this },
        ];
        for other in others {
            assert_eq!(other.status("x"), HolderStatus::Unknown);
        }
    }
}
