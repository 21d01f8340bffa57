//! `/metrics` for Prometheus: what an alert on the driver needs to know.
//!
//! Volumes have no figures here: they come with the engine, which measures them where the I/O happens.

use crate::registration::State;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// The media type of the `OpenMetrics` text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Page = (StatusCode, [(HeaderName, &'static str); 1], String);

/// The page.
pub fn router(registration: watch::Receiver<State>) -> Router {
    Router::new()
        .route("/metrics", get(page))
        .with_state(registration)
}

async fn page(Shared(registration): Shared<watch::Receiver<State>>) -> Page {
    let registered = *registration.borrow() == State::Registered;
    match figures(registered) {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => {
            let text = format!("the figures could not be written: {error}\n");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(CONTENT_TYPE, "text/plain")],
                text,
            )
        }
    }
}

fn figures(registered: bool) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("moraine_csi");
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version that runs", build);
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::from(registered));
    registry.register("registered", "1 once kubelet took the driver", gauge);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
