//! A real S3 server over a folder. A layer in front of it counts, fails, delays or holds requests.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    Body,
    auth::SimpleAuth,
    config::{S3Config, StaticConfigProvider},
    service::S3ServiceBuilder,
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Mutex as Turn, Notify},
};

use crate::support::World;

/// The secret key of the tests. No output may contain it.
pub(crate) const SECRET: &str = "wJalrCanarySecret5f3c9bK7MDENG";
pub(crate) const BUCKET: &str = "bucket";

/// The treatment of requests whose line (method, path and query) contains the text of a rule.
#[derive(Clone, PartialEq)]
pub(crate) enum Fate {
    /// The n-th request, from 1, is held until [`Store::let_go`] or the end of the server.
    HeldAt(u32),
    /// All requests are answered with this status and error code.
    Refused(u16, &'static str),
    /// The n-th request, from 1, is answered with this status and error code.
    RefusedAt(u32, u16, &'static str),
    /// The n-th request, from 1, and all later ones are answered with this status and error code.
    RefusedFrom(u32, u16, &'static str),
    /// This number of requests, from the first, is answered with this status.
    FailsFirst(u32, u16),
    /// The first request is served, but its answer is replaced by a 503.
    AnswerLost,
    /// All requests are served, but their answers are replaced by a 403.
    AnswersLost,
    /// The first request is received completely and delivered on [`Store::let_go`], as by a proxy with a
    /// queue. It is delivered even if the client no longer waits.
    Late,
    /// Conditional requests are answered with 501, as by a store without conditional puts.
    NoConditions,
}

#[derive(Default)]
struct Script {
    rules: Vec<(String, Fate, u32)>,
    seen: Vec<String>,
    held: bool,
}

#[derive(Default)]
struct Desk {
    script: Mutex<Script>,
    changed: Condvar,
    free: Notify,
}

pub(crate) struct Store {
    root: TempDir,
    addr: SocketAddr,
    desk: Arc<Desk>,
    runtime: Option<Runtime>,
}

impl Store {
    pub(crate) fn start() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("AKIATEST", SECRET));
        // The clocks of some tests are not that of this process.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let service = builder.build();
        let desk = Arc::<Desk>::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (front, turn) = (desk.clone(), Arc::<Turn<()>>::default());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, desk, turn) = (service.clone(), front.clone(), turn.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (service, desk, turn) = (service.clone(), desk.clone(), turn.clone());
                    async move {
                        if let Some(answer) = desk.judge(&request).await {
                            // The whole body is received before the answer, as by a server with a queue.
                            drop(request.into_body().collect().await);
                            return Ok(answer);
                        }
                        let lost = desk.is_first(&request, &Fate::AnswerLost);
                        let all_lost = desk.has(&request, &Fate::AnswersLost);
                        let late = desk.is_first(&request, &Fate::Late);
                        let conditional = is_conditional(&request);
                        // A separate task: it finishes even if the client disconnects.
                        let served = tokio::spawn(async move {
                            let request = if late {
                                desk.deliver_late(request).await
                            } else {
                                request.map(Body::from)
                            };
                            // The server checks the condition and then writes, which is not atomic. The mutex
                            // makes each conditional put atomic.
                            let _turn = if conditional { Some(turn.lock().await) } else { None };
                            service.call(request).await
                        });
                        let answer = served.await.unwrap();
                        if lost {
                            return Ok(refused(503, "SlowDown"));
                        }
                        if all_lost {
                            return Ok(refused(403, "AccessDenied"));
                        }
                        Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                            let mut answer = Response::new(Body::from(format!("{error:?}")));
                            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                            answer
                        }))
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { root, addr, desk, runtime: Some(runtime) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Sets the usual AWS variables for this store.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", self.url());
    }

    /// The command, configured for the API of `world` and for this store.
    pub(crate) fn command(&self, world: &World) -> Command {
        let mut command = world.command();
        self.environment(&mut command);
        command
    }

    pub(crate) fn rule(&self, request: &str, fate: Fate) {
        self.desk.script.lock().unwrap().rules.push((request.to_owned(), fate, 0));
    }

    pub(crate) fn no_rules(&self) {
        let mut script = self.desk.script.lock().unwrap();
        script.rules.clear();
        script.held = false;
    }

    /// Serves the held and late requests.
    pub(crate) fn let_go(&self) {
        self.desk.free.notify_waiters();
    }

    /// Waits until a request is held, for at most 120 s. Panics after that time.
    pub(crate) fn wait_until_held(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        let mut script = self.desk.script.lock().unwrap();
        while !script.held {
            let left = until.checked_duration_since(Instant::now()).expect("no request was held");
            script = self.desk.changed.wait_timeout(script, left).unwrap().0;
        }
    }

    /// Number of requests so far whose line contains a text.
    pub(crate) fn seen(&self, request: &str) -> usize {
        let script = self.desk.script.lock().unwrap();
        script.seen.iter().filter(|seen| seen.contains(request)).count()
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }

    /// Puts an object, as another user does. Its ETag is the MD5 of its bytes.
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self.forget_e_tags();
    }

    /// Changes the ETags of all objects that were uploaded in several blocks.
    pub(crate) fn forget_e_tags(&self) {
        for entry in fs::read_dir(self.root.path()).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().ends_with(".internal.json") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// The keys in the bucket, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects().into_keys().collect()
    }

    /// The objects in the bucket.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.root.path().join(BUCKET), "", &mut found);
        found
    }

    /// Number of multipart uploads that are neither complete nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        let names = fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".upload-")).count()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Adds the objects in a folder. A running command can remove one while this looks at it.
fn collect(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        Err(error) if gone(&error) && !prefix.is_empty() => return,
        entries => entries.unwrap(),
    };
    for entry in entries.map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        match fs::read(entry.path()) {
            Ok(bytes) => drop(found.insert(name, bytes)),
            Err(error) if gone(&error) => {}
            Err(_) => collect(&entry.path(), &format!("{name}/"), found),
        }
    }
}

fn is_conditional(request: &Request<Incoming>) -> bool {
    ["if-match", "if-none-match"].iter().any(|name| request.headers().contains_key(*name))
}

fn refused(status: u16, code: &str) -> Response<Body> {
    let text = format!("<Error><Code>{code}</Code><Message>as scripted</Message></Error>");
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

impl Desk {
    /// Returns whether this request is the first one of a rule with this fate. Call it after [`Desk::judge`],
    /// which counts the request.
    fn is_first(&self, request: &Request<Incoming>, fate: &Fate) -> bool {
        let line = format!("{} {}", request.method(), request.uri());
        let script = self.script.lock().unwrap();
        let mut rules = script.rules.iter();
        rules.any(|(text, other, count)| line.contains(&**text) && other == fate && *count == 1)
    }

    /// Whether a rule with this fate applies to this request.
    fn has(&self, request: &Request<Incoming>, fate: &Fate) -> bool {
        let line = format!("{} {}", request.method(), request.uri());
        let script = self.script.lock().unwrap();
        script.rules.iter().any(|(text, other, _)| line.contains(&**text) && other == fate)
    }

    async fn deliver_late(&self, request: Request<Incoming>) -> Request<Body> {
        let free = self.free.notified();
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.script.lock().unwrap().held = true;
        self.changed.notify_all();
        free.await;
        Request::from_parts(head, Body::from(body))
    }

    async fn judge(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let line = format!("{} {}", request.method(), request.uri());
        let free = self.free.notified();
        {
            let mut script = self.script.lock().unwrap();
            script.seen.push(line.clone());
            let mut held = false;
            for (text, fate, count) in &mut script.rules {
                if !line.contains(&**text) {
                    continue;
                }
                *count += 1;
                match *fate {
                    Fate::HeldAt(at) if *count == at => held = true,
                    Fate::Refused(status, code) => return Some(refused(status, code)),
                    Fate::RefusedAt(at, status, code) if *count == at => {
                        return Some(refused(status, code));
                    }
                    Fate::RefusedFrom(from, status, code) if *count >= from => {
                        return Some(refused(status, code));
                    }
                    Fate::NoConditions if is_conditional(request) => {
                        return Some(refused(501, "NotImplemented"));
                    }
                    Fate::FailsFirst(first, status) if *count <= first => {
                        return Some(refused(status, "SlowDown"));
                    }
                    _ => {}
                }
            }
            if !held {
                return None;
            }
            script.held = true;
            self.changed.notify_all();
        }
        free.await;
        None
    }
}
