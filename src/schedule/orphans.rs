//! Reaps orphans: processes whose parent has ended.
//!
//! The process with the id 1 inherits orphans. In a container this is often the schedule itself. It must
//! wait for each orphan, otherwise the orphan stays as a zombie process.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Ids of the children that tokio waits for. We must not reap them, or tokio would lose their exit status.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Registers a child that tokio waits for.
pub(super) fn register_child(child: Pid) {
    ours().insert(child.as_raw_pid());
}

/// Reaps orphans if this process inherits them: as process 1 or as a subreaper. Never returns.
///
/// Must run on the thread that starts the programs of [`OnResult`](super::OnResult). Otherwise it could
/// reap a program that has just been started and is not registered yet.
pub async fn reap_orphans() {
    if inherits() {
        match signal(SignalKind::child()) {
            Ok(mut ended) => loop {
                if let Err(error) = reap() {
                    tracing::debug!(%error, "cannot reap orphans");
                }
                if ended.recv().await.is_none() {
                    break;
                }
            },
            Err(error) => tracing::warn!(%error, "cannot reap orphans: they stay as zombies"),
        }
    }
    std::future::pending().await
}

fn inherits() -> bool {
    #[cfg(target_os = "linux")]
    if rustix::process::child_subreaper().is_ok_and(|set| set.is_some()) {
        return true;
    }
    getpid().is_init()
}

/// Reaps every ended child that tokio does not wait for.
fn reap() -> io::Result<()> {
    let this = getpid().as_raw_pid();
    let mut children = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // The process may have ended since the directory was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let Some((state, parent)) = state_and_parent(&stat) else { continue };
        if parent != this {
            continue;
        }
        children.insert(id);
        if state == "Z"
            && !ours().contains(&id)
            && let Some(id) = Pid::from_raw(id)
        {
            // Only the parent needed the exit status, and the parent has ended.
            let _ = waitpid(Some(id), WaitOptions::NOHANG);
        }
    }
    // The system can reuse the id of an ended child for another process.
    ours().retain(|id| children.contains(id));
    Ok(())
}

/// Parses the state and the parent's id from `/proc/ID/stat`. The process name comes before them, in
/// parentheses, and may contain any characters.
fn state_and_parent(stat: &str) -> Option<(&str, i32)> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut words = after.split_ascii_whitespace();
    Some((words.next()?, words.next()?.parse().ok()?))
}

fn ours() -> MutexGuard<'static, BTreeSet<i32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_cannot_forge_state_and_parent() {
        assert_eq!(state_and_parent("7 (a) Z 1 (b) S 12 7"), Some(("S", 12)));
        assert_eq!(state_and_parent("7 (sh) Z 1 7 7 0"), Some(("Z", 1)));
        assert_eq!(state_and_parent("7 sh"), None);
    }
}
