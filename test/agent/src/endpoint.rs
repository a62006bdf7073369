//! The two kinds of socket that an agent's spans arrive at.

use anyhow::{Context, Result, bail};
use pico_args::Arguments;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an agent connects to.
#[derive(Clone, Debug)]
pub enum Endpoint {
    Vsock(VsockAddress),
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug)]
pub struct VsockAddress {
    pub cid: u32,
    pub port: u32,
}

impl Endpoint {
    /// The one of `--vsock CID:PORT` and `--unix PATH` that is given.
    pub fn from_arguments(arguments: &mut Arguments) -> Result<Self> {
        let vsock = arguments.opt_value_from_str("--vsock")?.map(Endpoint::Vsock);
        let unix = arguments.opt_value_from_str("--unix")?.map(Endpoint::Unix);
        match (vsock, unix) {
            (Some(endpoint), None) | (None, Some(endpoint)) => Ok(endpoint),
            _ => bail!("give either --vsock CID:PORT or --unix PATH"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Vsock(VsockAddress { cid, port }) => write!(f, "vsock {cid}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

impl FromStr for VsockAddress {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (cid, port) = text.split_once(':').with_context(|| format!("{text:?} is not CID:PORT"))?;
        Ok(VsockAddress {
            cid: cid.parse().with_context(|| format!("{cid:?} is no CID"))?,
            port: port.parse().with_context(|| format!("{port:?} is no vsock port"))?,
        })
    }
}
