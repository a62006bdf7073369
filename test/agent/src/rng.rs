//! Random numbers that are the same for the same seed, on every machine and with every version of any crate.

use std::sync::{Arc, Mutex};

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.u64() % bound
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// As many items as `count`, made one after the other.
    pub fn many<T>(&mut self, count: u64, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..count).map(|_| item(self)).collect()
    }
}

/// The SDK's ids, from a seed. Clones draw from the same sequence.
#[derive(Clone, Debug)]
pub struct SeededIds(Arc<Mutex<Rng>>);

impl SeededIds {
    pub fn new(seed: u64) -> Self {
        SeededIds(Arc::new(Mutex::new(Rng::new(seed))))
    }

    pub fn u64(&self) -> u64 {
        self.0.lock().expect("no user of it panics").u64()
    }

    pub fn u128(&self) -> u128 {
        self.0.lock().expect("no user of it panics").u128()
    }
}
