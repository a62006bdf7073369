//! Spans that are not traced but made up.

mod load;
mod random;
pub mod requests;

pub use load::load;
pub use random::{nonfinite, random};

use opentelemetry::KeyValue;
use opentelemetry::sdk::trace::{EvictedHashMap, EvictedQueue};

/// The SDK's own limits for attributes, events and links.
const SDK_LIMIT: u32 = 128;

/// A span's attributes, of which the last `max_length` are kept and the rest counted.
fn attributes(max_length: u32, attributes: Vec<KeyValue>) -> EvictedHashMap {
    let mut map = EvictedHashMap::new(max_length, attributes.len());
    for attribute in attributes {
        map.insert(attribute);
    }
    map
}

/// A span's events or links, of which the last `max_length` are kept and the rest counted.
fn queue<T>(max_length: u32, mut items: Vec<T>) -> EvictedQueue<T> {
    let mut queue = EvictedQueue::new(max_length);
    queue.append_vec(&mut items);
    queue
}
