//! Orphans: processes whose parent has ended. A process with the id 1, as the only one of a container has,
//! inherits them, and must wait for their end or they stay as zombies.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Children that tokio waits for: it must be the one that learns how they ended.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Says that somebody waits for this child.
pub(super) fn is_ours(child: Pid) {
    ours().insert(child.as_raw_pid());
}

/// Waits for orphans to end, if this process inherits any: as process 1, or as a subreaper. Never returns.
/// Must run on the thread that starts the programs of [`OnResult`](super::OnResult), or it could take
/// away the end of one that has just been started.
pub async fn reap_orphans() {
    if inherits() {
        match signal(SignalKind::child()) {
            Ok(mut ended) => loop {
                if let Err(error) = reap() {
                    tracing::debug!(%error, "cannot look for orphans");
                }
                if ended.recv().await.is_none() {
                    break;
                }
            },
            Err(error) => tracing::warn!(%error, "orphans will stay as zombies"),
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

/// Takes the end of every child that has ended and that nobody waits for.
fn reap() -> io::Result<()> {
    let this = getpid().as_raw_pid();
    let mut children = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // It can be gone by now.
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
            // How it ended is for its parent, which is gone.
            let _ = waitpid(Some(id), WaitOptions::NOHANG);
        }
    }
    // The id of a child that is gone can be given to another process.
    ours().retain(|id| children.contains(id));
    Ok(())
}

/// Of `/proc/ID/stat`: the name comes first, in parentheses, and may hold anything.
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
    fn a_process_name_cannot_forge_state_and_parent() {
        assert_eq!(state_and_parent("7 (a) Z 1 (b) S 12 7"), Some(("S", 12)));
        assert_eq!(state_and_parent("7 (sh) Z 1 7 7 0"), Some(("Z", 1)));
        assert_eq!(state_and_parent("7 sh"), None);
    }
}
