//! The room for rows on a page: without a bound, many long rows would make a page that no browser can show.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
};

use maud::{Markup, html};

use crate::text::counted;

/// Size of the rows of a section as HTML, in bytes: 64 MiB.
pub(super) const ROWS_BYTES: usize = 64 << 20;

/// The room for the rows of a section.
pub(super) struct PageRoom<'s> {
    size: usize,
    left: Cell<usize>,
    left_out: Cell<u64>,
    /// Whether nobody waits for the page any more.
    stop: &'s AtomicBool,
}

impl<'s> PageRoom<'s> {
    /// `size` is in bytes.
    pub(super) fn new(size: usize, stop: &'s AtomicBool) -> Self {
        Self { size, left: Cell::new(size), left_out: Cell::new(0), stop }
    }

    /// Makes a row, if there is room for it. After the first row without room, no row has room.
    pub(super) fn row(&self, row: impl FnOnce() -> Markup) -> Option<Markup> {
        let made = (self.left.get() > 0 && !self.stop.load(Ordering::Relaxed)).then(row);
        let made = made.filter(|made| made.0.len() <= self.left.get());
        match &made {
            Some(made) => self.left.set(self.left.get() - made.0.len()),
            None => {
                self.left.set(0);
                self.left_out.set(self.left_out.get() + 1);
            }
        }
        made
    }

    /// Says how many rows had no room.
    pub(super) fn note(&self) -> Markup {
        let left_out = self.left_out.get();
        html! {
            @if left_out > 0 {
                p.note { "The values of " (counted(left_out, "row")) " are not shown, because the rows of this section are limited to " (self.size >> 20) " MiB." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_room_are_counted() {
        let (stop, row) = (AtomicBool::new(false), || html! { ("x".repeat(1000)) });
        let room = PageRoom::new(2500, &stop);
        assert_eq!((0..5).filter(|_| room.row(row).is_some()).count(), 2);
        assert!(room.note().0.contains("The values of 3 rows are not shown"));
        let room = PageRoom::new(2500, &stop);
        stop.store(true, Ordering::Relaxed);
        assert!(room.row(|| unreachable!()).is_none());
    }
}
