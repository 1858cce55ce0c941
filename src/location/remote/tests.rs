use std::net::TcpListener;

use super::*;

#[test]
fn silent_store_ends_a_check() {
    // The listener's backlog accepts connections, but nothing reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let options = StorageOptions::default()
        .with("endpoint", endpoint)
        .with("region", "us-east-1")
        .with("access_key_id", "a")
        .with("secret_access_key", "b");
    let url = Url::parse("s3://bucket/x").unwrap();
    let place = Remote::new("s3://bucket/x", &url, &options).unwrap();
    assert_eq!(place.with_short_limit().child("y").limit, Some(CHECK));
    let place = Remote { limit: Some(Duration::from_millis(100)), ..place };
    let ended: [Result<()>; 6] = [
        place.head().map(drop),
        place.read().map(drop),
        place.write(b"").map(drop),
        place.create(b"").map(drop),
        place.list().map(drop),
        place.remove(),
    ];
    for ended in ended {
        let Err(Error::Store { source, hint, .. }) = ended else { panic!("{ended:?}") };
        assert_eq!((source.to_string().as_str(), hint), ("no answer in 0.1 s", Some(UNREACHABLE)));
    }
}

#[test]
fn control_object_above_its_limit_reads_as_empty() {
    let place = Remote::in_memory("x");
    place.write(&vec![b' '; CONTROL_OBJECT as usize + 1]).unwrap();
    assert_eq!(place.read_control().unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(place.read().unwrap().unwrap().len() as u64, CONTROL_OBJECT + 1);
    assert!(!place.holds(b"   ").unwrap());
    place.write(b"   ").unwrap();
    assert!(place.holds(b"   ").unwrap() && !place.holds(b"  x").unwrap());
    assert_eq!(place.read_control().unwrap().as_deref(), Some(&b"   "[..]));
}
