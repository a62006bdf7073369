//! Writes a set of frames in both encodings, and what they mean.

use crate::encoding::Encoding;
use crate::frame;
use crate::meaning::Meaning;
use crate::rng::Rng;
use crate::spans;
use anyhow::{Context, Result, bail, ensure};
use opentelemetry::sdk::export::trace::SpanData;
use pico_args::Arguments;
use std::fs;
use std::path::PathBuf;

pub fn run(mut arguments: Arguments) -> Result<()> {
    let set: String = arguments.value_from_str("--set")?;
    let out: PathBuf = arguments.value_from_str("--out")?;
    let seed = arguments.value_from_str("--seed")?;
    let spans: Option<u64> = arguments.opt_value_from_str("--spans")?;
    super::finish(arguments)?;

    let spans = set_of(&set, seed, spans)?;
    let write = |extension: &str, bytes: Vec<u8>| {
        let path = out.join(format!("{set}.{extension}"));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("bincode", frames(Encoding::Bincode, &spans)?)?;
    write("json-frames", frames(Encoding::Json, &spans)?)?;
    write("expected.jsonl", lines(&spans)?)
}

/// The spans of the set of that name. The same seed gives the same spans; the order of a span's attributes on the
/// wire is a hash map's, and differs from run to run.
fn set_of(set: &str, seed: u64, spans: Option<u64>) -> Result<Vec<SpanData>> {
    let mut rng = Rng::new(seed);
    if let "random" | "load" = set {
        let spans = spans.with_context(|| format!("--set {set} needs --spans N"))?;
        return Ok(rng.many(spans, if set == "random" { spans::random } else { spans::load }));
    }
    ensure!(spans.is_none(), "--set {set} has a number of spans of its own: leave --spans out");
    Ok(match set {
        "nonfinite" => vec![spans::nonfinite(&mut rng)],
        _ => bail!("no set {set:?}: it is random, nonfinite or load"),
    })
}

fn frames(encoding: Encoding, spans: &[SpanData]) -> Result<Vec<u8>> {
    let mut frames = Vec::new();
    for span in spans {
        frame::write(&mut frames, &encoding.encode(span)?)?;
    }
    Ok(frames)
}

fn lines(spans: &[SpanData]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for span in spans {
        serde_json::to_writer(&mut lines, &Meaning::from(span))?;
        lines.push(b'\n');
    }
    Ok(lines)
}
