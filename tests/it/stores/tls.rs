//! A store behind TLS. It uses the same root certificates and --ca-cert option as the API.

use overmind_export::demo::Options;

use super::server::Store;
use crate::{
    secured::Tls,
    support::{ID, Ran, World},
};

#[test]
fn store_over_https_trusts_the_given_authority() {
    let world = World::generated(Options::default(), 300);
    let store = Store::start();
    let secured = Tls::before(store.addr(), "localhost", world.folder.path());
    let export = |more: &[&str]| {
        let mut command = store.command(&world);
        command.env("AWS_ENDPOINT_URL", format!("https://localhost:{}", secured.port()));
        command.args(["export", &ID.to_string(), "-o", "s3://bucket/rows.parquet"]).args(more);
        Ran::of(&mut command)
    };
    let told = export(&[]).told(&world).replace(&secured.port().to_string(), "PORT");
    insta::assert_snapshot!(told, @"
    exit 73
    error: s3://bucket/rows.parquet: cannot be used
      cause: cannot verify its certificate: this machine does not trust the issuer
      hint: check the endpoint; if the server uses a private authority, give its certificate with --ca-cert
    ");
    assert_eq!(store.keys(), Vec::<String>::new());
    export(&["--ca-cert", "authority.pem"]).ok();
    assert_eq!(store.keys(), ["rows.parquet"]);
    // The authority can also be set in the configuration file, for every command that uses the store.
    let config = world.path("authority.toml");
    std::fs::write(&config, "[api]\nca_cert = \"authority.pem\"\n").unwrap();
    for line in [
        "verify s3://bucket/rows.parquet",
        "preview s3://bucket/rows.parquet",
        "diff s3://bucket/rows.parquet s3://bucket/rows.parquet",
        "snapshots",
    ] {
        let mut command = store.command(&world);
        command.env("AWS_ENDPOINT_URL", format!("https://localhost:{}", secured.port()));
        if line == "snapshots" {
            let job =
                format!("[[job]]\nname = \"a\"\ndataset = \"{ID}\"\nroot = \"s3://bucket/s\"\n");
            let text = std::fs::read_to_string(&config).unwrap() + &job;
            std::fs::write(&config, text).unwrap();
        }
        Ran::of(command.args(line.split(' ')).args(["--config", "authority.toml"])).ok();
    }
    export(&["--config", "authority.toml", "--overwrite"]).ok();
    assert_eq!(store.keys(), ["rows.parquet"]);
    // One PUT for each of the two exports that succeeded.
    assert!(secured.connections() > 0 && store.seen("PUT /bucket/rows.parquet") == 2);
}
