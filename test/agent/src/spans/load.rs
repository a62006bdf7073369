//! Spans for measuring: all alike, about 640 bytes as bincode, six attributes and one event.

use super::{SDK_LIMIT, attributes, queue};
use crate::rng::Rng;
use opentelemetry::KeyValue;
use opentelemetry::sdk::InstrumentationLibrary;
use opentelemetry::sdk::export::trace::SpanData;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, StatusCode, TraceId, TraceState};
use std::time::{Duration, UNIX_EPOCH};

/// One span of a container's start, with ids, times and sizes from `rng`.
pub fn load(rng: &mut Rng) -> SpanData {
    let container_id = format!("{:032x}{:032x}", rng.u128(), rng.u128());
    let start_time = UNIX_EPOCH + Duration::from_nanos(1_767_000_000_000_000_000 + rng.below(3_600_000_000_000));
    let busy = rng.below(9_000_000) as i64;
    let idle = rng.below(9_000_000) as i64;
    let request = format!("StartContainerRequest {{ container_id: \"{container_id}\", seq: {} }}", rng.below(100_000));
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_u128(rng.u128()),
            SpanId::from_u64(rng.u64()),
            1,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from_u64(rng.u64()),
        span_kind: SpanKind::Internal,
        name: "start_container".into(),
        start_time,
        end_time: start_time + Duration::from_nanos((busy + idle) as u64),
        attributes: attributes(
            SDK_LIMIT,
            vec![
                KeyValue::new("mod", "rpc.rs"),
                KeyValue::new("req", request),
                KeyValue::new("subsystem", "rpc"),
                KeyValue::new("exit_code", 0.0),
                KeyValue::new("busy_ns", busy),
                KeyValue::new("idle_ns", idle),
            ],
        ),
        events: queue(
            SDK_LIMIT,
            vec![Event::new(
                "container started",
                start_time + Duration::from_nanos(10),
                vec![KeyValue::new("level", "INFO"), KeyValue::new("target", "kata_agent::rpc")],
                0,
            )],
        ),
        links: queue(SDK_LIMIT, Vec::new()),
        status_code: StatusCode::Unset,
        status_message: "".into(),
        resource: None,
        instrumentation_lib: InstrumentationLibrary::default(),
    }
}
