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
    place.write(&vec![b' '; LARGEST_CONTROL as usize + 1]).unwrap();
    assert_eq!(place.read_control().unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(place.read().unwrap().unwrap().len() as u64, LARGEST_CONTROL + 1);
    assert!(!place.holds(b"   ").unwrap());
    place.write(b"   ").unwrap();
    assert!(place.holds(b"   ").unwrap() && !place.holds(b"  x").unwrap());
    assert_eq!(place.read_control().unwrap().as_deref(), Some(&b"   "[..]));
}

#[test]
fn error_says_whether_an_upload_is_lost() {
    let answered = |status: &str, code: &str| {
        let text = format!("{status}: <Error><Code>{code}</Code></Error>");
        object_store::Error::Generic { store: "S3", source: text.into() }
    };
    let status = |status: &str| format!("Server returned non-2xx status code: {status}");
    // The answer, and whether the upload is lost or the result is unknown.
    let table = [
        (status("404 Not Found"), "NoSuchUpload", true, false),
        (status("400 Bad Request"), "InvalidPart", true, false),
        (status("400 Bad Request"), "InvalidBlockList", true, false),
        (status("400 Bad Request"), "RequestTimeout", false, false),
        (status("404 Not Found"), "NoSuchBucket", false, false),
        (status("429 Too Many Requests"), "SlowDown", false, false),
        (status("503 Service Unavailable"), "SlowDown", false, true),
        ("Server returned error response".to_owned(), "InternalError", false, true),
    ];
    for (status, code, lost, unanswered) in table {
        let error = answered(&status, code);
        assert_eq!((is_lost_upload(&error), is_unanswered(&error)), (lost, unanswered), "{code}");
    }
}
