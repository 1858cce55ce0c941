//! The destination of a run, which moves between the task of the run and the threads that work with it.

use crate::{
    destination::Destination,
    error::{Error, Result},
};

/// The place of a run's destination. It is empty while a thread has the destination.
///
/// A run that stops does not wait forever for such a thread. The slot then stays empty, and nothing can be
/// published: the thread releases the destination when it ends.
pub(crate) struct DestinationSlot(Option<Destination>);

impl DestinationSlot {
    pub(crate) fn new(destination: Destination) -> Self {
        Self(Some(destination))
    }

    /// Takes the destination for another thread.
    ///
    /// # Errors
    /// [`Error::Internal`] when another thread has it.
    pub(crate) fn take(&mut self) -> Result<Destination> {
        self.0.take().ok_or_else(in_use)
    }

    /// Takes the destination at the end of a run; `None` if a thread that did not stop in time still has it.
    pub(crate) fn into_inner(self) -> Option<Destination> {
        self.0
    }

    pub(crate) fn put_back(&mut self, destination: Destination) {
        self.0 = Some(destination);
    }

    pub(crate) fn get(&self) -> Result<&Destination> {
        self.0.as_ref().ok_or_else(in_use)
    }
}

fn in_use() -> Error {
    Error::Internal("another thread has the destination".to_owned())
}
