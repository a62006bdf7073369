//! The two encodings of a span that agents use.

use anyhow::{Result, bail};
use bincode::{DefaultOptions, Options};
use opentelemetry::sdk::export::trace::SpanData;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    Bincode,
    Json,
}

impl Encoding {
    /// The name it goes by, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Bincode => "bincode",
            Encoding::Json => "json",
        }
    }

    /// A span's payload, as an agent writes it.
    pub fn encode(self, span: &SpanData) -> Result<Vec<u8>> {
        Ok(match self {
            Encoding::Bincode => bincode::serialize(span)?,
            Encoding::Json => serde_json::to_vec(span)?,
        })
    }

    /// The span that a payload, the whole of it, is. The payload may be hostile: a length in it that is greater than
    /// the payload is refused before anything of that size is allocated.
    pub fn decode(self, payload: &[u8]) -> Result<SpanData> {
        Ok(match self {
            Encoding::Bincode => DefaultOptions::new()
                .with_fixint_encoding()
                .with_little_endian()
                .reject_trailing_bytes()
                .with_limit(payload.len() as u64)
                .deserialize(payload)?,
            // The crates that write JSON are of another version, whose `SpanData` has the same shape in any encoding.
            Encoding::Json => {
                let span: opentelemetry_0_17::sdk::export::trace::SpanData = serde_json::from_slice(payload)?;
                bincode::deserialize(&bincode::serialize(&span)?)?
            }
        })
    }
}

impl FromStr for Encoding {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "bincode" => Encoding::Bincode,
            "json" => Encoding::Json,
            _ => bail!("no encoding {name:?}: it is bincode or json"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meaning::Meaning;
    use crate::rng::Rng;
    use crate::spans::random;
    use opentelemetry::KeyValue;
    use opentelemetry::sdk::InstrumentationLibrary;
    use opentelemetry::sdk::trace::{EvictedHashMap, EvictedQueue};
    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, StatusCode, TraceId, TraceState};
    use std::time::{Duration, UNIX_EPOCH};

    const ENCODINGS: [Encoding; 2] = [Encoding::Bincode, Encoding::Json];

    fn span() -> SpanData {
        let mut attributes = EvictedHashMap::new(128, 1);
        attributes.insert(KeyValue::new("k", 5));
        let mut context = [0; 16];
        context[15] = 0x7b;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_byte_array(context),
                SpanId::from_u64(0x0102),
                1,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::invalid(),
            span_kind: SpanKind::Internal,
            name: "人".into(),
            start_time: UNIX_EPOCH + Duration::new(3, 4),
            end_time: UNIX_EPOCH + Duration::new(5, 6),
            attributes,
            events: EvictedQueue::new(128),
            links: EvictedQueue::new(128),
            status_code: StatusCode::Error,
            status_message: "".into(),
            resource: None,
            instrumentation_lib: InstrumentationLibrary::default(),
        }
    }

    fn bincode_of_span() -> Vec<u8> {
        [
            &b"\x7b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], // trace id, lowest byte first
            b"\x02\x01\0\0\0\0\0\0",                    // span id
            b"\x01\0\0",                                // flags, not remote, no trace state
            b"\0\0\0\0\0\0\0\0",                        // no parent
            b"\x04\0\0\0",                              // kind: internal
            b"\x03\0\0\0\0\0\0\0\xe4\xba\xba",          // name
            b"\x03\0\0\0\0\0\0\0\x04\0\0\0",            // start: seconds, nanoseconds
            b"\x05\0\0\0\0\0\0\0\x06\0\0\0",            // end
            b"\x01\0\0\0\0\0\0\0",                      // attributes: one
            b"\x01\0\0\0\0\0\0\0k\x01\0\0\0\x05\0\0\0\0\0\0\0",
            b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k", // and in the order of eviction
            b"\x80\0\0\0\0\0\0\0",                    // at most 128; none dropped
            b"\0\x80\0\0\0\0\0\0\0",                  // no events
            b"\0\x80\0\0\0\0\0\0\0",                  // no links
            b"\x02\0\0\0",                            // status: error
            b"\0\0\0\0\0\0\0\0",                      // without a message
            b"\0",                                    // no resource
        ]
        .concat()
    }

    #[test]
    fn bincode_is_what_it_was() {
        assert_eq!(Encoding::Bincode.encode(&span()).unwrap(), bincode_of_span());
    }

    #[test]
    fn json_is_what_it_was() {
        let json = concat!(
            r#"{"span_context":{"trace_id":123,"span_id":258,"trace_flags":1,"is_remote":false,"trace_state":null},"#,
            r#""parent_span_id":0,"span_kind":"Internal","name":"人","#,
            r#""start_time":{"secs_since_epoch":3,"nanos_since_epoch":4},"#,
            r#""end_time":{"secs_since_epoch":5,"nanos_since_epoch":6},"#,
            r#""attributes":{"map":{"k":{"I64":5}},"evict_list":["k"],"max_len":128,"dropped_count":0},"#,
            r#""events":{"queue":null,"max_len":128,"dropped_count":0},"#,
            r#""links":{"queue":null,"max_len":128,"dropped_count":0},"#,
            r#""status_code":"Error","status_message":"","resource":null}"#,
        );
        assert_eq!(String::from_utf8(Encoding::Json.encode(&span()).unwrap()).unwrap(), json);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let meaning = |span: &SpanData| serde_json::to_string(&Meaning::from(span)).unwrap();
        for span in Rng::new(1).many(500, random) {
            for encoding in ENCODINGS {
                let decoded = encoding.decode(&encoding.encode(&span).unwrap()).unwrap();
                assert_eq!(meaning(&decoded), meaning(&span), "{}", encoding.name());
            }
        }
    }

    #[test]
    fn what_follows_a_span_is_refused() {
        for encoding in ENCODINGS {
            let mut payload = encoding.encode(&span()).unwrap();
            payload.push(b'0');
            assert!(encoding.decode(&payload).is_err(), "{}", encoding.name());
        }
    }

    #[test]
    fn a_length_beyond_the_payload_is_refused() {
        let mut payload = bincode_of_span();
        payload[16 + 8 + 3 + 8 + 4..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Encoding::Bincode.decode(&payload).is_err());
    }
}
