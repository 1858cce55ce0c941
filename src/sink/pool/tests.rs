//! Tests of the pool's order, limits and failures. They use gates instead of timers.

use super::*;

/// A job that runs until the gate opens.
fn gated(gate: &Arc<Mutex<()>>) -> impl FnOnce(&mut ()) -> Result<()> + Send + 'static {
    let gate = gate.clone();
    move |()| {
        drop(gate.lock());
        Ok(())
    }
}

/// Submits a job from another thread while the gate is closed, then opens the gate. Returns whether the submitting
/// thread had to wait.
fn waits(pool: &Pool<()>, gate: &Arc<Mutex<()>>, held: MutexGuard<'_, ()>, cost: usize) -> bool {
    let in_flight = pool.shared.queue().in_flight;
    let jobs = pool.shared.queue().jobs.len();
    thread::scope(|scope| {
        let work = gated(gate);
        scope.spawn(move || pool.submit(cost, work).wait().unwrap());
        loop {
            let queue = pool.shared.queue();
            let let_in = queue.in_flight > in_flight || queue.jobs.len() > jobs;
            if queue.waiting > 0 || let_in {
                drop(held);
                return !let_in;
            }
            drop(queue);
            thread::yield_now();
        }
    })
}

#[test]
fn results_keep_job_order_at_any_thread_count() {
    for threads in [1, 2, 3, 8] {
        let mut ordered = Ordered::<u64, u64>::new(threads, 2).unwrap();
        let mut seen = Vec::new();
        for job in 0..200_u64 {
            ordered.submit(1 << 20, move |done| {
                *done += 1;
                Ok(job * job)
            });
            seen.extend(std::iter::from_fn(|| ordered.overdue()).map(Result::unwrap));
            assert_eq!(seen.len(), (job as usize + 1).saturating_sub(2 * threads));
        }
        seen.extend(std::iter::from_fn(|| ordered.oldest()).map(Result::unwrap));
        assert_eq!(seen, (0..200).map(|job| job * job).collect::<Vec<_>>());
    }
}

#[test]
fn results_are_overdue_when_bytes_exceed_limit() {
    let mut ordered = Ordered::<(), ()>::new(16, 2).unwrap();
    let budget = ordered.pool.budget;
    assert_eq!(budget, 16 * THREAD_BYTES);
    for _ in 0..2 {
        ordered.submit(budget / 2, |()| Ok(()));
        assert!(ordered.overdue().is_none());
    }
    ordered.submit(1, |()| Ok(()));
    assert!(ordered.overdue().is_some() && ordered.overdue().is_none());
    ordered.submit(10 * budget, |()| Ok(()));
    assert_eq!(std::iter::from_fn(|| ordered.overdue()).count(), 3);
    assert!(ordered.tickets.is_empty() && ordered.bytes == 0);
}

#[test]
fn only_last_job_can_exceed_budget() {
    for (threads, budget) in [(1, LEAST_BYTES), (2, LEAST_BYTES), (3, 3 * THREAD_BYTES)] {
        let pool = Pool::<()>::new(threads).unwrap();
        assert_eq!(pool.budget, budget);
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        // One byte of the budget is left: a job of any size is accepted, even if no thread is free.
        let mut jobs = vec![pool.submit(budget - 1, gated(&gate))];
        jobs.push(pool.submit(budget, gated(&gate)));
        assert_eq!(pool.shared.queue().in_flight, 2 * budget - 1);
        assert!(waits(&pool, &gate, held, 1));
        jobs.into_iter().for_each(|ticket| ticket.wait().unwrap());
        while pool.shared.queue().in_flight > 0 {
            thread::yield_now();
        }
    }
}

#[test]
fn number_of_small_jobs_is_not_limited() {
    let pool = Pool::<()>::new(1).unwrap();
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let jobs: Vec<_> = (0..100).map(|_| pool.submit(1 << 10, gated(&gate))).collect();
    assert_eq!(pool.shared.queue().in_flight, 100 << 10);
    drop(held);
    jobs.into_iter().for_each(|ticket| ticket.wait().unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn only_encoder_threads_lower_their_priority() {
    // Niceness is field 19. Count after the name's closing parenthesis, because the name can contain spaces.
    let niceness = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit(')').next().unwrap();
        fields.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
    };
    let before = niceness();
    let pool = Pool::<()>::new(1).unwrap();
    let encoder = pool.submit(1, move |()| Ok(niceness())).wait().unwrap();
    assert_eq!((encoder, niceness()), ((before + NICE).min(19), before));
}

#[test]
fn failed_or_panicked_job_frees_its_bytes() {
    // The ticket returns the error, and later jobs still run.
    let pool = Pool::<()>::new(1).unwrap();
    let all = pool.budget;
    let failed = pool.submit(all, |()| Err::<(), _>(Error::Internal("no room".to_owned())));
    let panicked = pool.submit(all, |()| -> Result<()> { panic!("reported, not hidden") });
    let fine = pool.submit(all, |()| Ok(7));
    assert!(failed.wait().unwrap_err().to_string().contains("no room"));
    assert!(panicked.wait().unwrap_err().to_string().contains("an encoder panicked"));
    assert_eq!(fine.wait().unwrap(), 7);
}

#[test]
fn pool_dropped_early_leaves_no_thread() {
    let pool = Pool::<()>::new(4).unwrap();
    let shared = Arc::downgrade(&pool.shared);
    for _ in 0..50 {
        drop(pool.submit(1, |()| Ok(())));
    }
    drop(pool);
    assert!(shared.upgrade().is_none());
}

#[test]
fn pool_runs_with_fewer_threads_than_requested() {
    // Only a system that starts no thread at all is an error.
    let allowing = |most: usize| {
        let mut started = 0;
        Pool::<()>::with(5, move |serve| {
            started += 1;
            let refused = || io::Error::from(io::ErrorKind::WouldBlock);
            if started > most { Err(refused()) } else { Ok(thread::spawn(serve)) }
        })
    };
    let pool = allowing(2).unwrap();
    assert_eq!(pool.threads.len(), 2);
    assert_eq!(pool.submit(1, |()| Ok(7)).wait().unwrap(), 7);
    let error = allowing(0).err().unwrap();
    assert_eq!(error.to_string(), "cannot start an encoder thread");
    assert_eq!(error.exit_code(), 74);
}
