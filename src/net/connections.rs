//! The connections of a small server. Their number is limited: a new one replaces the oldest idle one.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::{AbortHandle, JoinSet};

/// The open connections of a server. Dropping this closes them.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    tasks: JoinSet<()>,
    /// Open connections, the oldest first.
    open: VecDeque<(AbortHandle, Busy)>,
}

/// Whether a connection is busy with a request. A connection that waits for a request is idle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<AtomicBool>);

impl Busy {
    pub(crate) fn set(&self, busy: bool) {
        self.0.store(busy, Ordering::Relaxed);
    }
}

impl Connections {
    /// Creates an empty set for at most `most` connections at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, tasks: JoinSet::new(), open: VecDeque::new() }
    }

    /// Serves one more connection. At the limit, closes the oldest idle connection, or the oldest connection
    /// if none is idle.
    pub(crate) fn admit<F>(&mut self, serve: impl FnOnce(Busy) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|(task, _)| !task.is_finished());
        while self.open.len() >= self.most {
            let idle = self.open.iter().position(|(_, busy)| !busy.0.load(Ordering::Relaxed));
            if let Some((task, _)) = self.open.remove(idle.unwrap_or(0)) {
                task.abort();
            }
        }
        let busy = Busy::default();
        self.open.push_back((self.tasks.spawn(serve(busy.clone())), busy));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    /// Sends its number when it is dropped.
    struct Ends(u8, mpsc::UnboundedSender<u8>);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.1.send(self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn new_connection_closes_the_oldest_idle_one() {
        let (sender, mut ended) = mpsc::unbounded_channel();
        let mut connections = Connections::new(3);
        let mut admit = |number, is_busy| {
            let ends = Ends(number, sender.clone());
            connections.admit(|busy| async move {
                busy.set(is_busy);
                let _ends = ends;
                pending().await
            });
        };
        for (number, is_busy) in [(0, true), (1, false), (2, true)] {
            admit(number, is_busy);
            tokio::task::yield_now().await;
        }
        admit(3, true);
        assert_eq!(ended.recv().await, Some(1));
        // Now all connections are busy.
        admit(4, true);
        assert_eq!(ended.recv().await, Some(0));
    }
}
