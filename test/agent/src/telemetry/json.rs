//! Agents of Kata 3.29 to 4.1: opentelemetry 0.17, tracing-opentelemetry 0.17, JSON.

use super::{Agent, Telemetry};
use crate::exporter::FrameSender;
use crate::rng::SeededIds;
use async_trait::async_trait;
use opentelemetry_0_17::propagation::TextMapPropagator;
use opentelemetry_0_17::sdk::Resource;
use opentelemetry_0_17::sdk::export::trace::{ExportResult, SpanData, SpanExporter};
use opentelemetry_0_17::sdk::propagation::TraceContextPropagator;
use opentelemetry_0_17::sdk::trace::{TracerProvider, config};
use opentelemetry_0_17::trace::{IdGenerator, SpanId, TraceError, TraceId, TracerProvider as _};
use opentelemetry_0_17::{KeyValue, runtime};
use std::collections::HashMap;
use tracing::Span;
use tracing_opentelemetry_0_17::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber_0_3::Registry;
use tracing_subscriber_0_3::layer::SubscriberExt;

pub fn trace(agent: &Agent, body: impl FnOnce(&dyn Telemetry)) {
    let mut config = config().with_id_generator(agent.ids.clone());
    if !agent.resource.is_empty() {
        let attributes = agent.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        config = config.with_resource(Resource::new(attributes));
    }
    let provider = TracerProvider::builder()
        .with_batch_exporter(Exporter(FrameSender::new(agent)), runtime::TokioCurrentThread)
        .with_config(config)
        .build();
    let tracer = provider.tracer("kata-agent");
    let subscriber = Registry::default().with(OpenTelemetryLayer::new(tracer));
    tracing::subscriber::with_default(subscriber, || body(&Provider(provider)));
}

struct Provider(TracerProvider);

impl Telemetry for Provider {
    fn set_parent(&self, span: &Span, traceparent: Option<&str>) {
        let headers: HashMap<_, _> =
            traceparent.map(|value| ("traceparent".to_string(), value.to_string())).into_iter().collect();
        span.set_parent(
            TraceContextPropagator::new().extract_with_context(&opentelemetry_0_17::Context::new(), &headers),
        );
    }

    fn flush(&self) {
        self.0.force_flush();
    }
}

#[derive(Debug)]
struct Exporter(FrameSender);

#[async_trait]
impl SpanExporter for Exporter {
    async fn export(&mut self, batch: Vec<SpanData>) -> ExportResult {
        let payloads = batch.iter().map(|span| Ok(serde_json::to_vec(span)?)).collect();
        self.0.export(payloads).await.map_err(|error| TraceError::from(format!("{error:#}")))
    }

    fn shutdown(&mut self) {
        self.0.shutdown();
    }
}

impl IdGenerator for SeededIds {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(self.u128().to_be_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(self.u64().to_be_bytes())
    }
}
