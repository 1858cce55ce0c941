//! How many requests may start ahead of the consumer: a bound on the requests in flight, and a bound on the
//! prefetched pages. Never counts bytes (the budget does) and never asks for a permit (the throttle grants it).

/// Pages to prefetch per request slot: one in flight, one queued, one to absorb jitter. On low-latency
/// links more only causes page faults.
const PAGES_PER_SLOT: usize = 3;
/// Minimum number of request slots that the prefetch bound assumes: 16. With fewer, a consumer that takes
/// many pages at once would run out of pages.
const MIN_SLOTS: usize = 16;
/// Number of pages that wait for a slow consumer: 16. More prefetched pages would not make it faster.
const BACKLOG: usize = 16;
/// Number of request slots while the consumer is slow, unless the concurrency is fixed: 16.
const BACKLOG_SLOTS: usize = 16;

/// The pages between request and consumer, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefetched {
    /// Number of requests in flight.
    pub(super) in_flight: usize,
    /// Number of pages from the next one that the consumer takes to the last one that was requested.
    pub(super) pages: usize,
    /// Number of fetched pages that wait for the consumer. 0 if the next page in order is not there.
    pub(super) waiting: usize,
}

/// Decides whether another request may start.
#[derive(Debug)]
pub(super) struct Window {
    /// Maximum number of prefetched pages.
    prefetch_pages: usize,
    /// Number of requests that may start now.
    free: usize,
    /// Whether requests start until all slots are used or the prefetch bound is reached.
    fills_up: bool,
}

impl Window {
    pub(super) fn new(prefetch_pages: usize) -> Self {
        Self { prefetch_pages, free: 0, fills_up: true }
    }

    /// Takes the present state into account. `limit` is the throttle's limit of requests in flight, fixed
    /// or adaptive.
    ///
    /// While the consumer is slow, several requests start together, as soon as a sixth of the prefetch
    /// bound is free. That is half of the request slots. Requests that start one by one would each wake
    /// the server, and each answer would wake this process.
    pub(super) fn update(&mut self, now: Prefetched, limit: usize, is_fixed: bool) {
        let is_slow = now.waiting >= BACKLOG;
        let slots = if is_slow && !is_fixed { BACKLOG_SLOTS } else { limit.max(MIN_SLOTS) };
        let bound = self.prefetch_pages.min(PAGES_PER_SLOT * slots);
        self.free = slots.saturating_sub(now.in_flight).min(bound.saturating_sub(now.pages));
        let starts_again = self.free >= bound / (2 * PAGES_PER_SLOT);
        self.fills_up = !is_slow || starts_again || self.fills_up && self.free > 0;
    }

    /// Whether another request may start.
    pub(super) fn is_open(&self) -> bool {
        self.fills_up && self.free > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING_CONSUMER: usize = 0;
    const SLOW_CONSUMER: usize = BACKLOG;

    /// The number of requests that start one after another, from a state without requests in flight.
    fn starts(
        window: &mut Window,
        pages: usize,
        waiting: usize,
        limit: usize,
        fixed: bool,
    ) -> usize {
        let starts = (0..1000).take_while(|&started| {
            window.update(
                Prefetched { in_flight: started, pages: pages + started, waiting },
                limit,
                fixed,
            );
            window.is_open()
        });
        starts.count()
    }

    #[test]
    fn waiting_consumer_gets_all_slots() {
        assert_eq!(starts(&mut Window::new(1000), 0, WAITING_CONSUMER, 40, false), 40);
        assert_eq!(starts(&mut Window::new(1000), 0, WAITING_CONSUMER, 1, false), MIN_SLOTS);
    }

    #[test]
    fn slow_consumer_limits_adaptive_slots_only() {
        assert_eq!(starts(&mut Window::new(1000), 16, SLOW_CONSUMER, 64, false), BACKLOG_SLOTS);
        assert_eq!(starts(&mut Window::new(1000), 16, SLOW_CONSUMER, 64, true), 64);
    }

    #[test]
    fn prefetched_pages_are_bounded() {
        assert_eq!(starts(&mut Window::new(5), 0, WAITING_CONSUMER, 40, false), 5);
        assert_eq!(starts(&mut Window::new(1000), 45, SLOW_CONSUMER, 64, false), 3);
    }

    #[test]
    fn slow_consumer_makes_requests_start_together() {
        let mut window = Window::new(1000);
        let mut at = |pages| {
            window.update(Prefetched { in_flight: 0, pages, waiting: SLOW_CONSUMER }, 16, false);
            window.is_open()
        };
        assert!(at(47));
        assert!(!at(48), "the bound is reached");
        assert!(!at(41), "seven pages are free, and eight start together");
        assert!(at(40));
        assert!(at(47), "once started, requests continue up to the bound");
    }
}
