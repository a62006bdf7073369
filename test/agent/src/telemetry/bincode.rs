//! Agents of Kata 2.2 to 3.28: opentelemetry 0.14, tracing-opentelemetry 0.13, bincode.

use super::{Agent, Telemetry};
use crate::encoding::Encoding;
use crate::exporter::FrameSender;
use crate::rng::SeededIds;
use async_trait::async_trait;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::sdk::Resource;
use opentelemetry::sdk::export::trace::{ExportResult, SpanData, SpanExporter};
use opentelemetry::sdk::propagation::TraceContextPropagator;
use opentelemetry::sdk::trace::{TracerProvider, config};
use opentelemetry::trace::{IdGenerator, SpanId, TraceError, TraceId, TracerProvider as _};
use opentelemetry::{KeyValue, runtime};
use std::collections::HashMap;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

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
    let tracer = provider.get_tracer("kata-agent", None);
    let subscriber = Registry::default().with(OpenTelemetryLayer::new(tracer));
    tracing::subscriber::with_default(subscriber, || body(&Provider(provider)));
}

struct Provider(TracerProvider);

impl Telemetry for Provider {
    fn set_parent(&self, span: &Span, traceparent: Option<&str>) {
        let headers: HashMap<_, _> =
            traceparent.map(|value| ("traceparent".to_string(), value.to_string())).into_iter().collect();
        span.set_parent(TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &headers));
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
        let payloads = batch.iter().map(|span| Encoding::Bincode.encode(span)).collect();
        self.0.export(payloads).await.map_err(|error| TraceError::from(format!("{error:#}")))
    }

    fn shutdown(&mut self) {
        self.0.shutdown();
    }
}

impl IdGenerator for SeededIds {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_u128(self.u128())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_u64(self.u64())
    }
}
