use super::*;

#[test]
fn language_has_the_locked_versions() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap();
    for name in ["jaq-core", "jaq-std", "jaq-json"] {
        let (_, package) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
        let (version, _) = package.split_once('"').unwrap();
        assert!(LANGUAGE.contains(&format!("{name} {version}, ")), "{name} {version}");
    }
    assert!(LANGUAGE.ends_with(", fence 3"));
}

#[test]
fn options_without_effect_are_refused() {
    let refused = |options: Transform| Shaper::compile(&options).unwrap_err().to_string();
    let sample = Transform::new().sample(0.5);
    let on_error = refused(sample.clone().on_error(OnError::Skip));
    let expressions = "`where`, `column`, `map`, `dedupe` or `split_by`";
    assert_eq!(on_error, format!("`on_error` has no effect without {expressions}"));
    let timeout = refused(sample.clone().expression_timeout(Duration::from_secs(1)));
    assert_eq!(timeout, format!("`expression_timeout` has no effect without {expressions}"));
    let both = refused(Transform::new().map(".id").column("x", None, ".id"));
    assert_eq!(both, "`map` writes its own lines, so `column` has no effect");
    let seed = refused(Transform::new().keep_where(".id").seed(0));
    assert_eq!(seed, "`seed` has no effect without `sample` or `split`");
    let key = refused(Transform::new().keep_where(".id").split_by(".id"));
    assert_eq!(key, "`split_by` has no effect without `split` or `sample`");
    let mask = refused(Transform::new().mask(".persona").on_error(OnError::Skip));
    assert_eq!(mask, on_error);
    assert!(Shaper::compile(&sample.seed(7)).unwrap().is_some());
    assert!(Shaper::compile(&Transform::new()).unwrap().is_none());
}

#[test]
fn fraction_is_recorded_as_it_was_given() {
    for fraction in [0.05, 0.1, 1.0 / 3.0, 1e-12] {
        let shaper = Shaper::compile(&Transform::new().sample(fraction)).unwrap().unwrap();
        let json = serde_json::to_string(shaper.recorded()).unwrap();
        let read: TransformRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(&read, shaper.recorded());
        assert_eq!(read.sample.unwrap().parse(), Ok(fraction));
    }
}
