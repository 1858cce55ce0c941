//! A transport with scripted answers, for tests under paused time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    Client, ClientInner,
    retry::RetryPolicy,
    transport::{Reply, Transport, TransportFailure},
};
use crate::{
    client::budget::BodyReservation,
    throttle::{Concurrency, Throttle},
};

/// The outcome of one attempt: its duration and its result.
pub(super) type Step = (Duration, Result<Reply, TransportFailure>);

/// Returns the answers of a script in order, and then repeats the last one. Records each request.
#[derive(Clone)]
pub(super) struct Script(Arc<Mutex<ScriptState>>);

struct ScriptState {
    steps: VecDeque<Step>,
    last: Step,
    begun: Instant,
    asked: Vec<(Duration, String)>,
}

impl Script {
    pub(super) fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut steps: VecDeque<Step> = steps.into_iter().collect();
        let last = steps.pop_back().unwrap();
        Self(Arc::new(Mutex::new(ScriptState {
            steps,
            last,
            begun: Instant::now(),
            asked: Vec::new(),
        })))
    }

    /// Returns the time of each request, from the creation of the script.
    pub(super) fn times(&self) -> Vec<Duration> {
        self.0.lock().unwrap().asked.iter().map(|(time, _)| *time).collect()
    }

    /// Returns the requested URLs.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.iter().map(|(_, url)| url.clone()).collect()
    }

    pub(super) fn attempts(&self) -> usize {
        self.times().len()
    }
}

impl Transport for Script {
    fn get<'a>(
        &'a self,
        url: Url,
        _room: Option<&'a mut BodyReservation>,
    ) -> BoxFuture<'a, Result<Reply, TransportFailure>> {
        let (takes, result) = {
            let mut state = self.0.lock().unwrap();
            let time = state.begun.elapsed();
            state.asked.push((time, url.to_string()));
            state.steps.pop_front().unwrap_or_else(|| state.last.clone())
        };
        Box::pin(async move {
            sleep(takes).await;
            result
        })
    }
}

impl ClientInner {
    pub(super) fn scripted(script: &Script, retry: RetryPolicy) -> Self {
        Self {
            transport: Arc::new(script.clone()),
            base: Url::parse("http://api.example/").unwrap(),
            key: Arc::default(),
            throttle: Throttle::new(Concurrency::Auto, None),
            retry,
            timer: Arc::default(),
            meter: Arc::default(),
            proxy: None,
        }
    }
}

pub(super) fn client(script: &Script, retry: RetryPolicy) -> Client {
    Client(Arc::new(ClientInner::scripted(script, retry)))
}

pub(super) fn at_once(result: Result<Reply, TransportFailure>) -> Step {
    (Duration::ZERO, result)
}

pub(super) fn reply(status: u16, body: &str) -> Reply {
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: "application/json".to_owned(),
        retry_after: Vec::new(),
        date: None,
        location: None,
        coding: None,
        body: body.as_bytes().to_vec(),
    }
}

pub(super) fn answer(status: u16) -> Step {
    at_once(Ok(reply(status, r#"{"detail":"so it is"}"#)))
}

pub(super) fn retry_after_reply(status: u16, retry_after: impl ToString) -> Step {
    let retry_after = vec![retry_after.to_string()];
    at_once(Ok(Reply { retry_after, ..reply(status, "{}") }))
}

pub(super) fn page() -> Step {
    at_once(Ok(reply(200, r#"{"count":0,"next":null,"previous":null,"results":[]}"#)))
}

pub(super) fn refused() -> Step {
    at_once(Err(TransportFailure::Connect("Connection refused".to_owned())))
}
