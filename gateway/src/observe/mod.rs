//! What operators see: logs, metrics and health, on a listener of their own. It holds no patient data.

pub mod logs;
mod metrics;

pub use metrics::{Connected, Metrics, ReplyKind};

use crate::store::Store;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long readiness waits for the store.
const READY_TIME_MAX: Duration = Duration::from_secs(2);

/// Answers `/livez`, `/readyz` and `/metrics`. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    metrics: Metrics,
    store: Arc<dyn Store>,
    draining: Arc<AtomicBool>,
}

impl Observer {
    pub fn new(metrics: Metrics, store: Arc<dyn Store>) -> Self {
        Self { metrics, store, draining: Arc::default() }
    }

    /// From now on not ready: the doors are closing.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready().await,
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics.text());
                let form = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, form);
                response
            }
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz and /metrics are here\n"),
        }
    }

    /// Ready: a message can be committed and an access be written down.
    async fn ready(&self) -> Response<Full<Bytes>> {
        if self.draining.load(Ordering::SeqCst) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        match tokio::time::timeout(READY_TIME_MAX, self.store.ready()).await {
            Ok(Ok(())) => text(StatusCode::OK, "ok\n"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready");
                text(StatusCode::SERVICE_UNAVAILABLE, "the store cannot commit\n")
            }
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
