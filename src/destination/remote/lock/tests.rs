use super::{
    super::{put::Condition, upload::Upload},
    *,
};
use crate::destination::PlaceLock;

const SHORT: Duration = Duration::from_millis(300);

fn places() -> (Remote, Remote) {
    let target = Remote::in_memory("out");
    (target.child("_overmind"), target)
}

/// A lock as a run on another machine leaves it.
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
fn one_run_holds_it_and_the_next_gets_it_when_it_is_released() {
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
fn a_place_that_another_run_has_taken_over_is_left_to_it() {
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
fn of_many_that_want_it_at_once_one_gets_it() {
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
fn a_run_of_this_machine_that_is_gone_is_taken_over_at_once() {
    let (control, target) = places();
    // Given up without a release, as by a panic.
    let first = Lock::acquire(&control, &target, LEASE).unwrap();
    let token = first.token().to_owned();
    drop(first);
    let second = Lock::acquire(&control, &target, LEASE).unwrap();
    assert!(second.number == 2 && second.token() != token);
    assert!(!control.names().unwrap().contains(&lock_name(1)));
}

#[test]
fn a_run_elsewhere_that_renews_its_lease_keeps_it() {
    let (control, target) = places();
    foreign(&control, 4, Duration::from_secs(60));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Lock::acquire(&control, &target, SHORT));
        // It has seen the lease once it waits; any later state of it is a change.
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
fn a_run_elsewhere_that_does_not_is_taken_over_after_its_lease() {
    let (control, target) = places();
    foreign(&control, 4, SHORT);
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    assert_eq!(lock.number, 5);
    lock.confirm().unwrap();
}

#[test]
fn a_lock_that_cannot_be_read_is_taken_over() {
    let (control, target) = places();
    control.child(&lock_name(7)).write(b"{\"half").unwrap();
    assert_eq!(Lock::acquire(&control, &target, LEASE).unwrap().number, 8);
}

#[test]
fn a_holder_renews_and_loses_when_another_has_taken_over() {
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
    // What is another's by now stays.
    lock.release().unwrap();
    assert_eq!(control.names().unwrap(), ["lease-f0f0f0f0", "lock-00002.json"]);
}

#[test]
fn a_number_that_was_given_again_is_another_lock() {
    // A holder whose number another run has by now.
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
    assert_eq!(control.names().unwrap(), ["lease-f0f0f0f0", "lock-00001.json"]);

    // One that goes away, and another that gets its number, while it is looked at.
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
fn a_put_whose_answer_was_lost_is_known_again() {
    let (control, target) = places();
    // As a put that was served and is then sent again finds it.
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
fn a_request_does_not_outlive_the_lock() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    let watch = lock.watch();
    foreign(&control, 2, LEASE);
    let unanswered = watch.guard(std::future::pending::<()>()).unwrap_err();
    assert!(matches!(unanswered, Error::LockLost { .. }), "{unanswered}");
    // Nor does one begin then.
    let place = target.child("_SUCCESS");
    assert!(watch.put(&place, "".into(), &Condition::Any).is_err());
    assert_eq!(place.read().unwrap(), None);
}

#[test]
fn before_it_publishes_a_holder_asks_and_does_not_trust_what_it_knew() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, LEASE).unwrap();
    foreign(&control, 2, LEASE);
    lock.check().unwrap();
    assert!(matches!(lock.confirm(), Err(Error::LockLost { .. })));
    // Another run may even have come and gone.
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, LEASE).unwrap();
    control.child(&lock_name(1)).remove().unwrap();
    assert!(matches!(lock.confirm(), Err(Error::LockLost { .. })));
}

#[test]
fn an_upload_ends_with_the_lock_and_says_so() {
    let (control, target) = places();
    let lock = Lock::acquire(&control, &target, SHORT).unwrap();
    let upload = Upload::new(target.child("x"), control.child("upload-x"), lock.watch(), true);
    foreign(&control, 2, LEASE);
    let bytes = vec![0; 1 << 20];
    let error = loop {
        // Far more than fits, in far more time than a renewal takes.
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
