//! A rate limit that refuses requests and never waits.

use std::time::Instant;

/// A token bucket with a steady rate. The burst is the number of requests in a tenth of a second, at least 1.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
}

impl TokenBucket {
    pub(crate) fn new(requests_per_second: u32, now: Instant) -> TokenBucket {
        let rate = f64::from(requests_per_second.max(1));
        let burst = (rate / 10.0).max(1.0);
        TokenBucket { rate, burst, tokens: burst, refilled: now }
    }

    /// Takes a token. Returns false if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        self.refilled = now;
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate).min(self.burst);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bucket_grants_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(50, start);
        let granted = |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(granted(&mut bucket, start), 5);
        assert_eq!(granted(&mut bucket, start + Duration::from_millis(60)), 3);
        assert_eq!(granted(&mut bucket, start + Duration::from_secs(60)), 5);
    }
}
