//! How fast the crates decode: the reference that the forwarder's own speed is compared with.

use crate::encoding::Encoding;
use crate::frame::{self, HEADER_LENGTH};
use anyhow::{Context, Result, bail, ensure};
use pico_args::Arguments;
use serde::Serialize;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a round takes at least: short, so that on a busy machine some rounds are left alone.
const ROUND: Duration = Duration::from_millis(20);

#[derive(Serialize)]
struct Report {
    encoding: &'static str,
    /// Spans decoded, all rounds together.
    spans: u64,
    bytes_per_span: f64,
    seconds: f64,
    rounds: usize,
    /// Which of the rounds the next two are of.
    statistic: &'static str,
    ns_per_span: f64,
    spans_per_second: f64,
    best_ns_per_span: f64,
}

pub fn run(mut arguments: Arguments) -> Result<()> {
    let file: PathBuf = arguments.value_from_str("--file")?;
    let encoding: Encoding = arguments.value_from_str("--encoding")?;
    let seconds: f64 = arguments.value_from_str("--seconds")?;
    super::finish(arguments)?;
    ensure!(seconds > 0.0, "--seconds must be more than 0");

    let frames = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let payloads = payloads(&frames).with_context(|| format!("{} is no file of frames", file.display()))?;
    let decode = match encoding {
        Encoding::Bincode => |payload: &[u8]| -> Result<()> {
            black_box(bincode::deserialize::<opentelemetry::sdk::export::trace::SpanData>(payload)?);
            Ok(())
        },
        Encoding::Json => |payload: &[u8]| -> Result<()> {
            black_box(serde_json::from_slice::<opentelemetry_0_17::sdk::export::trace::SpanData>(payload)?);
            Ok(())
        },
    };
    let pass = || -> Result<()> {
        for payload in &payloads {
            decode(black_box(payload))?;
        }
        Ok(())
    };

    pass().with_context(|| format!("{} has a payload that is not {}", file.display(), encoding.name()))?;
    let started = Instant::now();
    let mut spans = 0;
    let mut rounds = Vec::new();
    while rounds.is_empty() || started.elapsed().as_secs_f64() < seconds {
        let round = Instant::now();
        let mut passes = 0;
        while passes == 0 || round.elapsed() < ROUND {
            pass()?;
            passes += 1;
        }
        let round_spans = passes * payloads.len() as u64;
        spans += round_spans;
        rounds.push(round.elapsed().as_nanos() as f64 / round_spans as f64);
    }
    rounds.sort_by(f64::total_cmp);
    let median = rounds[rounds.len() / 2];
    let report = Report {
        encoding: encoding.name(),
        spans,
        bytes_per_span: payloads.iter().map(|payload| payload.len()).sum::<usize>() as f64 / payloads.len() as f64,
        seconds: started.elapsed().as_secs_f64(),
        rounds: rounds.len(),
        statistic: "median",
        ns_per_span: median,
        spans_per_second: 1e9 / median,
        best_ns_per_span: rounds[0],
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// The payloads in a file of frames.
fn payloads(mut frames: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut payloads = Vec::with_capacity(frames.len() / HEADER_LENGTH);
    let mut payload = Vec::new();
    while frame::read(&mut frames, &mut payload)? {
        payloads.push(payload.clone());
    }
    if payloads.is_empty() {
        bail!("it is empty");
    }
    Ok(payloads)
}
