use super::{
    super::{
        put::Condition,
        upload::{OnClose, Upload},
    },
    *,
};
use crate::destination::PlaceLock;

const SHORT: Duration = Duration::from_millis(300);

fn places() -> (Remote, Remote) {
    let target = Remote::in_memory("out");
    (target.child("_overmind"), target)
}

/// Writes the lock of a run on another machine.
fn foreign(control: &Remote, number: u32, lease: Duration) {
    let mut process = serde_json::to_value(Process::this()).unwrap();
    process["host"] = "elsewhere".into();
    let mut json = process;
    json["token"] = "f0f0f0f0".into();
    json["lease_seconds"] = lease.as_secs_f64().into();
    control.child(&lock_name(number)).write(&serde_json::to_vec(&json).unwrap()).unwrap();
    control.child(&lease_name("f0f0f0f0")).write(b"0").unwrap();
}

#[test]
fn lock_of_another_machine_is_watched_but_not_taken() {
    let (control, target) = places();
    foreign(&control, 1, SHORT);
    check_unlocked(&control, &target).unwrap();
    check_ended(&control, &target).unwrap();
    assert_eq!(control.names().unwrap(), ["lease-f0f0f0f0", "lock-00001.state"]);
}

#[test]
fn released_lock_can_be_taken_again() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, LEASE).unwrap();
    lock.confirm().unwrap();
    let refused = Lock::acquire(&control, &target, LEASE).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert!(check_unlocked(&control, &target).is_err());
    lock.release().unwrap();
    assert_eq!(control.names().unwrap(), Vec::<String>::new());
    check_unlocked(&control, &target).unwrap();
    Lock::acquire(&control, &target, LEASE).unwrap();
}

#[test]
fn lost_place_lock_leaves_the_new_holder_alone() {
    let (control, target) = places();
    let lock = PlaceLock::Remote(Lock::acquire(&control, &target, LEASE).unwrap());
    lock.confirm().unwrap();
    foreign(&control, 2, LEASE);
    let lost = lock.confirm().unwrap_err();
    assert!(matches!(lost, Error::LockLost { .. }), "{lost}");
    lock.release().unwrap();
    let names = control.names().unwrap();
    let others = [lease_name("f0f0f0f0"), lock_name(2)];
    assert!(others.iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("lease-")).count(), 1, "{names:?}");
}

#[test]
fn one_of_many_concurrent_runs_gets_the_lock() {
    let (control, target) = places();
    let locks: Vec<_> = thread::scope(|scope| {
        let want = || Lock::acquire(&control, &target, LEASE);
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(want)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let held: Vec<_> = locks.into_iter().filter_map(Result::ok).collect();
    assert_eq!(held.len(), 1);
    held[0].confirm().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn ended_local_run_is_taken_over_immediately() {
    let (control, target) = places();
    // Dropped without a release, as after a panic.
    let first = Lock::acquire(&control, &target, LEASE).unwrap();
    let token = first.token().to_owned();
    drop(first);
    let second = Lock::acquire(&control, &target, LEASE).unwrap();
    assert!(second.number == 2 && second.token() != token);
    assert!(!control.names().unwrap().contains(&lock_name(1)));
}

#[test]
fn remote_run_that_renews_keeps_the_lock() {
    let (control, target) = places();
    foreign(&control, 4, Duration::from_secs(60));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Lock::acquire(&control, &target, SHORT));
        // While `waiting` waits, it has already read the lease. Each new value is a renewal.
        for renewal in 1.. {
            control.child(&lease_name("f0f0f0f0")).write(format!("{renewal}").as_bytes()).unwrap();
            if waiting.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let refused = waiting.join().unwrap().unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    });
}

#[test]
fn remote_run_is_taken_over_after_its_lease() {
    let (control, target) = places();
    foreign(&control, 4, SHORT);
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    assert_eq!(lock.number, 5);
    lock.confirm().unwrap();
}

#[test]
fn unreadable_lock_is_taken_over() {
    let (control, target) = places();
    control.child(&lock_name(7)).write(b"{\"half").unwrap();
    assert_eq!(Lock::acquire(&control, &target, LEASE).unwrap().number, 8);
}

#[test]
fn holder_renews_until_another_run_takes_over() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    let lease = control.child(&lease_name(lock.token()));
    let until = Instant::now() + Duration::from_secs(30);
    while lease.read().unwrap().as_deref() != Some(b"2") {
        assert!(Instant::now() < until, "it was not renewed twice");
        thread::sleep(Duration::from_millis(10));
    }
    lock.check().unwrap();

    foreign(&control, 2, LEASE);
    let watch = lock.watch();
    while !watch.is_stopped() {
        assert!(Instant::now() < until, "it was not noticed");
        thread::sleep(Duration::from_millis(10));
    }
    let lost = lock.check().unwrap_err();
    assert_eq!(
        lost.to_string(),
        "s3://memory/out: the lock was lost: another run has taken it over"
    );
    // The lock of the other run stays.
    lock.release().unwrap();
    assert_eq!(control.names().unwrap(), ["lease-f0f0f0f0", "lock-00002.state"]);
}

#[test]
fn reused_number_is_another_lock() {
    // Another run replaces the lock of this holder under the same number.
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    foreign(&control, 1, LEASE);
    let until = Instant::now() + Duration::from_secs(30);
    while !lock.watch().is_stopped() {
        assert!(Instant::now() < until, "it was not noticed");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(lock.check(), Err(Error::LockLost { .. })));
    lock.release().unwrap();
    assert_eq!(control.names().unwrap(), ["lease-f0f0f0f0", "lock-00001.state"]);

    // The lock is released while it is checked, and another run gets the same number.
    let Some((1, Some(holder))) = highest(&control).unwrap() else { panic!("no lock") };
    let mut next = serde_json::to_value(&holder).unwrap();
    next["token"] = "0e0e0e0e".into();
    control.child(&lock_name(1)).write(&serde_json::to_vec(&next).unwrap()).unwrap();
    control.child(&lease_name("f0f0f0f0")).remove().unwrap();
    let now = highest(&control).unwrap();
    assert_eq!(identity(&now), Some((1, Some("0e0e0e0e"))));
    assert_ne!(identity(&now), identity(&Some((1, Some(holder)))));
}

#[test]
fn repeated_put_after_a_lost_answer_succeeds() {
    let (control, target) = places();
    // The second call is the retry of a put that succeeded.
    assert!(claim(&control, 1, "0a0a0a0a", LEASE).unwrap());
    assert!(claim(&control, 1, "0a0a0a0a", LEASE).unwrap());
    assert!(!claim(&control, 1, "0b0b0b0b", LEASE).unwrap());
    let lock = Lock::acquire(&target.child("other"), &target, LEASE).unwrap();
    let place = target.child("_manifest.json");
    let put = |text: &'static str| lock.watch().put(&place, text.into(), &Condition::Free).unwrap();
    assert!(put("one").is_some());
    assert!(put("one").is_some());
    assert!(put("two").is_none());
}

#[test]
fn request_ends_when_the_lock_is_lost() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    let watch = lock.watch();
    foreign(&control, 2, LEASE);
    let unanswered = watch.guard(std::future::pending::<()>()).unwrap_err();
    assert!(matches!(unanswered, Error::LockLost { .. }), "{unanswered}");
    // No new request begins after that.
    let place = target.child("_SUCCESS");
    assert!(watch.put(&place, "".into(), &Condition::Any).is_err());
    assert_eq!(place.read().unwrap(), None);
}

#[test]
fn confirm_asks_the_store() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, LEASE).unwrap();
    foreign(&control, 2, LEASE);
    lock.check().unwrap();
    assert!(matches!(lock.confirm(), Err(Error::LockLost { .. })));
    // Another run may have taken the lock and released it.
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, LEASE).unwrap();
    control.child(&lock_name(1)).remove().unwrap();
    assert!(matches!(lock.confirm(), Err(Error::LockLost { .. })));
}

#[test]
fn upload_fails_when_the_lock_is_lost() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    let upload =
        Upload::new(target.child("x"), control.child("upload-x"), lock.watch(), OnClose::Publish);
    foreign(&control, 2, LEASE);
    let bytes = vec![0; 1 << 20];
    let error = loop {
        // Write until it fails: the loss is noticed at the next renewal.
        if let Err(error) = upload.write(&bytes) {
            break error;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(
        error.to_string(),
        "s3://memory/out: the lock was lost: another run has taken it over"
    );
    upload.abort().unwrap();
    assert_eq!(target.child("x").read().unwrap(), None);
}
