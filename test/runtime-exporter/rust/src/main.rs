//! Sends spans as Kata's Rust runtime does: `opentelemetry-jaeger` over hyper, wired as `tracer.rs` of runtime-rs, with
//! HTTP/1 up to 3.32 and HTTP/2 with prior knowledge from 4.0 on.
//!
//! kata-runtime-side ENDPOINT http1|http2 ROUNDS [USER PASSWORD]
//!
//! Each round makes ten spans and waits for them to be sent. Nothing filters the spans of hyper and h2, as in the
//! runtime, so that over HTTP/2 each export makes spans for the next one.

use std::time::Duration;

use hyper::client::Client;
use opentelemetry::global;
use opentelemetry::sdk::trace::{config, Sampler};
use opentelemetry_http::hyper::HyperClient;
use tracing::{info_span, instrument};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::Registry;

/// How long an export may take, as in `opentelemetry-jaeger`'s own client.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than what `OTEL_BSP_SCHEDULE_DELAY` is set to.
const ROUND: Duration = Duration::from_millis(400);
const SERVICE: &str = "kata-sb-9f3c51aa";

#[instrument(name = "create_container")]
async fn create_container(id: usize) {
    inner(id).await;
}

#[instrument]
async fn inner(id: usize) {
    tokio::time::sleep(Duration::from_micros(200 + id as u64)).await;
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (endpoint, protocol) = (&arguments[0], arguments[1].as_str());
    let rounds: usize = arguments[2].parse().expect("a number of rounds");
    let client = HyperClient::new_with_timeout(
        Client::builder().http2_only(protocol == "http2").build_http(),
        TIMEOUT,
    );
    // The runtime always sends credentials, empty ones too.
    let (user, password) = match arguments.get(3..5) {
        Some(credentials) => (credentials[0].clone(), credentials[1].clone()),
        None => (String::new(), String::new()),
    };
    let tracer = opentelemetry_jaeger::new_collector_pipeline()
        .with_service_name(SERVICE)
        .with_endpoint(endpoint)
        .with_username(user)
        .with_password(password)
        .with_http_client(client)
        .with_trace_config(config().with_sampler(Sampler::AlwaysOn))
        .install_batch(opentelemetry::runtime::Tokio)
        .expect("a tracer");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    tracing::subscriber::set_global_default(Registry::default().with(layer)).expect("the first subscriber");

    for round in 0..rounds {
        for index in 0..5 {
            create_container(round * 5 + index).await;
        }
        tokio::time::sleep(ROUND).await;
    }
    drop(info_span!("last").entered());
    tokio::task::spawn_blocking(global::shutdown_tracer_provider).await.expect("a shutdown");
}
